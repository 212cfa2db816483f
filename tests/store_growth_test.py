"""What an edit and a refresh read and touch: what changed, not the store."""

import json
import pathlib
import random

import numpy as np
import pytest
import store_cases
from store_cases import contents, numbered, rows_of, small_store

from visual_memory.memory.layout import RowTable
from visual_memory.store import verification
from visual_memory.store.storage import arrays, manifest, state
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
    RowTable, "slots", property(lambda self: pytest.fail("all ids"))
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
