"""What an edit and a refresh read and touch: what changed, not the store."""

import json
import pathlib
import random
import zlib

import numpy as np
import pytest
import store_cases
from store_cases import contents, numbered, rows_of, small_store

from visual_memory.memory.row_table import RowTable
from visual_memory.store import refreshing, verification
from visual_memory.store.errors import StoreDamaged
from visual_memory.store.storage import arrays, manifest, state, texts
from visual_memory.store.storage.local import LocalFiles
from visual_memory.store.store import Store


class Reads(LocalFiles):
  """A store's files, and the keys that were read."""

  def __init__(self, root):
    super().__init__(root)
    self.seen = []

  def read(self, key, **options):
    self.seen.append(key)
    return super().read(key, **options)

  def read_into(self, key, buffer):
    self.seen.append(key)
    return super().read_into(key, buffer)


def counted(store):
  """A fresh handle on a store, and the list of what it reads."""
  reads = Reads(store.path)
  return Store(reads), reads.seen


def test_the_first_edit_of_a_handle_reads_no_other_rows(tmp_path):
  store = small_store(tmp_path / "store", 400)
  fresh, keys = counted(store)
  fresh.add(numbered(900, 903))
  text = [key for key in keys if key.startswith(("text/c", "embeddings/c"))]
  assert len(text) <= 1  # By chance a checksum may be that of a new id.
  fresh, keys = counted(store)
  fresh.remove(["number/7", "number/399"])
  text = {key for key in keys if key.startswith("text/c")}
  assert len(text) <= 3
  with pytest.raises(ValueError, match="'number/5' .row 1"):
    fresh.add(rows_of(["x", "number/5"], [0, 0]))
  assert "ids" not in vars(fresh.handle._state)
  store.verify()


def column_chunks(keys):
  """How many chunks of each small column were read."""
  names = [key.split("/")[0] for key in keys if "/c." in key]
  return {name: names.count(name) for name in arrays.COLUMNS}


def test_the_first_edit_reads_few_of_the_small_columns(tmp_path):
  """Of 64 chunks: all masks and checksums of ids, else those that change."""
  Store.create(tmp_path / "store", numbered(0, 1024), rows_per_chunk=16)
  for change in (
    lambda store: store.add(numbered(2000, 2001)),
    lambda store: store.remove(["number/77"]),
    lambda store: store.relabel(["number/500", "number/9"], ["bee", "bee"]),
    lambda store: store.annotate(["number/800"], {"by": "Ada"}),
    lambda store: store.replace(numbered(3, 4)),
  ):
    fresh, keys = counted(Store.open(tmp_path / "store"))
    change(fresh)
    found = column_chunks(keys)
    assert found.pop("mask") <= 65 and found.pop("id_checksums") <= 65
    assert all(count <= 4 for count in found.values()), found
    embeddings = [key for key in keys if key.startswith("embeddings/c")]
    assert len(embeddings) <= 1
  Store.open(tmp_path / "store").verify()


def test_a_refresh_reads_and_compares_the_chunks_that_changed(
  tmp_path, monkeypatch
):
  Store.create(tmp_path / "store", numbered(0, 1024), rows_per_chunk=16)
  fresh, keys = counted(Store.open(tmp_path / "store"))
  memory = fresh.load(capacity=2048)
  other = Store.open(tmp_path / "store")
  looked_at = []
  whole = refreshing._compared

  def compared(memory, state, steps):
    looked_at.append(steps if steps is None else {
      chunk for step in steps for chunk in step.chunks
    })  # fmt: skip
    return whole(memory, state, steps)

  monkeypatch.setattr(refreshing, "_compared", compared)
  for change in (
    lambda store: store.add(numbered(2000, 2003)),
    lambda store: store.remove(["number/77", "number/78"]),
    lambda store: store.relabel(["number/500", "number/9"], ["bee", "ant"]),
    lambda store: store.replace(numbered(3, 4)),
    lambda store: store.rename_class("bee", "hornet"),
    lambda store: None,
  ):
    for store in (other, fresh):  # Another process's edit, and its own.
      if store is fresh and change.__code__.co_names[:1] != ("relabel",):
        continue
      change(store)
      keys.clear()
      memory = fresh.refresh(memory)
      assert all(count <= 4 for count in column_chunks(keys).values())
      assert looked_at[-1] is not None and len(looked_at[-1]) <= 3
      held, expected = memory.embedded(), store.embedded()
      np.testing.assert_array_equal(held.embeddings, expected.embeddings)
      np.testing.assert_array_equal(held.labels, expected.labels)
      assert list(held.ids) == list(expected.ids)
      assert held.class_names == expected.class_names
  # Whoever edits a memory by itself is compared whole.
  assert len(fresh.refresh(memory.remove(["number/9"]))) == len(memory)
  relabelled = memory.relabel(["number/9"], ["hornet"])
  np.testing.assert_array_equal(
    fresh.refresh(relabelled).embedded().labels, memory.embedded().labels
  )
  assert looked_at[-1] is None
  other.compact()  # Rows move, and none of them is another one.
  assert list(fresh.refresh(memory).ids) == list(other.ids)


def test_a_description_is_as_the_file_has_it(tmp_path):
  store = small_store(tmp_path / "store", 40)
  store.describe({"of": ("a", {"b": (1, 2)})})
  store.add(numbered(900, 901))  # By the same handle, which reads nothing.
  assert store.attributes == {"of": ["a", {"b": [1, 2]}]}


def test_ids_of_equal_checksums_are_told_apart(tmp_path):
  found, rng = {}, random.Random(0)
  for _ in range(400_000):
    row_id = f"{rng.getrandbits(64):x}"
    other = found.setdefault(state.crc.crc32(row_id.encode()), row_id)
    if other != row_id:
      break
  else:
    pytest.fail("no two of these ids have the same checksum")
  store = Store.create(tmp_path / "store", rows_of([other, "y"], [0, 1]))
  store.add(rows_of([row_id], [2]))
  assert list(store.ids) == [other, "y", row_id]
  store.remove([other])
  assert list(store.ids) == ["y", row_id]
  with pytest.raises(KeyError):
    store.remove([other])
  store.verify()


@pytest.mark.parametrize("donate", [False, True])
def test_refresh_reads_and_finds_only_what_changed(
  tmp_path, monkeypatch, donate
):
  store = small_store(tmp_path / "store", 400)
  fresh, keys = counted(store)
  memory = fresh.load(capacity=1000)
  store.add(numbered(900, 920))
  store.remove(["number/3", "number/300", "number/910"])
  store.relabel(["number/5", "number/901"], ["wolf", "bee"])
  fresh.refresh(memory)
  keys.clear()
  monkeypatch.setattr(
    RowTable, "find_or_none", lambda self, ids: pytest.fail("all ids")
  )
  new = fresh.refresh(memory, donate=donate)
  assert len([key for key in keys if key.startswith("text/c")]) <= 20
  expected, held = store.embedded(), new.embedded()
  np.testing.assert_array_equal(held.embeddings, expected.embeddings)
  np.testing.assert_array_equal(held.labels, expected.labels)
  assert list(held.ids) == list(expected.ids)
  assert held.class_names == expected.class_names
  assert fresh.refresh(new).rows is new.rows


def test_a_row_of_the_memorys_own_is_still_found_out(tmp_path):
  store = small_store(tmp_path / "store")
  memory = store.refresh(store.load())
  store.add(numbered(100, 101))
  with pytest.raises(ValueError, match="edited by itself"):
    store.refresh(memory.add(numbered(200, 201)))
  assert len(store.refresh(memory.remove(["number/3"]))) == 41
  other = small_store(tmp_path / "other")
  other.add(numbered(300, 301))
  same = other.refresh(memory)  # Another store, with the same first rows.
  assert list(same.ids) == list(other.ids)


def as_format_1(path):
  """Makes a store what it was before rows had checksums of their ids."""
  file = json.loads((path / manifest.KEY).read_bytes())
  for chunk in file["content"]["chunks"]:
    chunk[1] = chunk[1][: 8 * len(arrays.columns_of(1))]
  content = json.dumps(
    file["content"], sort_keys=True, separators=(",", ":")
  ).encode()
  file["format"] = 1
  file["digest"] = manifest.hashlib.sha256(content).hexdigest()
  (path / manifest.KEY).write_bytes(json.dumps(file).encode())
  for part in (path / "id_checksums").iterdir():
    part.unlink()
  (path / "id_checksums").rmdir()


def test_a_store_of_the_first_format_is_read_then_made_anew(tmp_path):
  path = tmp_path / "store"
  store = small_store(path, metadata={"who": "Ada"})
  store.remove(["number/4"])
  before = contents(store)
  as_format_1(path)
  old = Store.open(path)
  assert old.contents.version == 1 and contents(old) == before
  assert old.metadata(["number/5"]) == [{"who": "Ada"}]
  assert isinstance(old.verify(), verification.Verification)
  assert not pathlib.Path(path, "id_checksums").exists()
  with pytest.raises(ValueError, match="already in the store"):
    old.add(numbered(5, 6))
  old.add(numbered(100, 103))
  old.remove(["number/6"])
  again = Store.open(path)
  assert again.contents.version == manifest.FORMAT
  assert len(again) == 41 and again.verify().num_receipts == 2
  with pytest.raises(ValueError, match="already in the store"):
    again.add(numbered(101, 102))
  assert store_cases.contents(again)[:5] == before[:5]


HOSTILE_IDS = ("a", "\u00e9\u6f22", "x" * 300, " ", "a\0b")


def test_many_ids_are_read_as_each_was_written(tmp_path):
  draw = random.Random(0)
  ids = [*HOSTILE_IDS, *(f"{n}/{'e' * draw.randrange(20)}" for n in range(400))]
  metadata = [{"k": "v" * draw.choice((0, 0, 5, 90))} for _ in ids]
  store = Store.create(
    tmp_path / "store", rows_of(ids, [0] * len(ids)), metadata=metadata
  )
  store.remove([ids[2], ids[50]])
  left = [row_id for row_id in ids if row_id not in (ids[2], ids[50])]
  assert Store.open(store.path).load().ids.tolist() == left
  name = tmp_path / "store" / "text" / "c.0"
  data = bytearray(name.read_bytes())
  data[data.index(left[70].encode())] ^= 1
  name.write_bytes(data)
  with pytest.raises(StoreDamaged, match=r"row 72 \(serial 72\) are not what"):
    Store.open(store.path).load()


@pytest.mark.parametrize(
  "records, whole",
  [
    ([b"one{}", b"", b"\xc3\xa9tre", b"three" * 40, b"two", b"ab"], True),
    ([b"ends in zero\0", b"one"], False),
    ([b"no \xff text", b"one"], False),
    ([b"half a \xc3", b"\xa9", b"one"], False),
  ],
)
def test_texts_at_once_are_those_of_each(records, whole):
  lengths = np.array(list(map(len, records)))
  ends = np.cumsum(lengths)
  order = np.array(range(len(records)))[::-1]
  id_bytes = np.maximum(lengths - 2, 0) if whole else lengths
  found = texts.ids_and_checksums(
    b"".join(records),
    (ends - lengths)[order],
    ends[order],
    id_bytes[order],
  )
  assert (found is not None) == whole
  if whole:
    assert found[0].tolist() == [
      records[i][: id_bytes[i]].decode() for i in order
    ]
    assert found[1].tolist() == [zlib.crc32(records[i]) for i in order]
