"""The durable store: its edits, its readers, its format, its receipts."""

import json
import os
import subprocess
import zlib

import memory_cases as cases
import numpy as np
import pytest
import store_cases
import tensorstore
from store_cases import contents, numbered, rows_of, small_store

from visual_memory import types
from visual_memory.store import derived, receipts, row_edits
from visual_memory.store.errors import StoreDamaged, StoreError
from visual_memory.store.storage import crc
from visual_memory.store.store import Store


@pytest.fixture
def store(tmp_path):
  """A store of forty rows in three chunks."""
  return small_store(tmp_path / "store", metadata={"license": "CC0"})


def reopened(store):
  """Another handle on the same store."""
  return Store.open(store.path)


def all_bytes(path):
  """The bytes of every file under a directory."""
  return b"\n".join(
    open(os.path.join(folder, name), "rb").read()
    for folder, _, names in os.walk(path)
    for name in names
  )


# Reading


def test_what_is_created_is_read_back(tmp_path):
  rows = numbered(0, 40)
  Store.create(tmp_path / "store", rows)
  store = Store.open(tmp_path / "store")
  held = store.embedded()
  np.testing.assert_array_equal(held.embeddings, rows.embeddings)
  np.testing.assert_array_equal(held.labels, rows.labels)
  assert list(held.ids) == list(rows.ids) == list(store.ids)
  assert held.class_names == rows.class_names == store.class_names
  assert held.fingerprint == rows.fingerprint == store.fingerprint
  assert len(store) == 40
  assert store.verify().num_rows == 40


def test_a_store_may_begin_empty(tmp_path):
  empty = numbered(0, 0)
  store = Store.create(tmp_path / "store", empty)
  assert len(store) == 0
  assert store.embedded().embeddings.shape == (0, store_cases.DIM)
  store.add(numbered(0, 3))
  assert list(reopened(store).ids) == ["number/0", "number/1", "number/2"]
  store.remove(["number/0", "number/1", "number/2"])
  assert len(store.load()) == 0
  store.compact()
  assert store.verify().num_empty == 0


def test_ids_and_metadata_may_be_any_text(tmp_path):
  ids = ["", "é/ü.jpg", "a\nb\0c", "日本" * 90, "\N{SNOWMAN}"]
  store = Store.create(tmp_path / "store", rows_of(ids, [0] * 5))
  metadata = [{"n": n, "text": "ø\n", "nested": [1, None]} for n in range(5)]
  store.annotate(ids[::-1], metadata[::-1])
  assert list(reopened(store).ids) == ids
  assert reopened(store).metadata(ids) == metadata


def test_any_zarr_reader_reads_it(store, tmp_path):
  zarr = pytest.importorskip("zarr")
  group = zarr.open_group(store.path, mode="r")
  mask = group["mask"][:]
  rows = store.embedded()
  np.testing.assert_array_equal(group["embeddings"][:][mask], rows.embeddings)
  np.testing.assert_array_equal(group["labels"][:][mask], rows.labels)
  text = group["text"][:].tobytes()
  found = [text[s : s + n].decode() for s, n, _ in group["spans"][:][mask]]
  assert found == list(rows.ids)
  with open(tmp_path / "store/manifest.json") as file:
    content = json.load(file)["content"]
  assert content["class_names"] == list(cases.CLASS_NAMES)
  array = tensorstore.open({
    "driver": "zarr3",
    "kvstore": f"file://{store.path}/embeddings/",
  }).result()  # fmt: skip
  np.testing.assert_array_equal(array.read().result()[mask], rows.embeddings)


def test_rows_are_chosen_by_label_and_metadata(store):
  store.annotate(["number/3", "number/4", "number/8"], {"who": "Ada"})
  assert list(store.select(where={"who": "Ada"})) == [
    "number/3", "number/4", "number/8",
  ]  # fmt: skip
  assert list(store.select(label="dog", where={"who": "Ada"})) == [
    "number/3", "number/8",
  ]  # fmt: skip
  assert len(store.select(where=lambda m: m.get("license") == "CC0")) == 37
  assert len(store.select(label=1)) == 8


# Edits


def test_added_rows_come_last_and_classes_match_by_name(store):
  store.add(
    rows_of(["x", "y"], [0, 1], class_names=("cat", "fox")),
    metadata=[{"a": 1}, {}],
  )
  held = reopened(store).embedded()
  assert held.class_names == (*cases.CLASS_NAMES, "fox")
  assert list(held.ids[-2:]) == ["x", "y"]
  assert list(held.labels[-2:]) == [2, 5]
  assert store.metadata(["x", "y", "number/0"]) == [
    {"a": 1}, {}, {"license": "CC0"},
  ]  # fmt: skip


def test_slots_are_used_again_and_serials_are_not(store):
  store.remove([f"number/{n}" for n in range(10)])
  slots = store.contents.num_slots
  store.add(numbered(100, 110))
  assert store.contents.num_slots == slots
  assert list(store.ids) == [
    *(f"number/{n}" for n in range(10, 40)),
    *(f"number/{n}" for n in range(100, 110)),
  ]
  assert store.contents.next_serial == 50
  store.verify()


def test_many_rows_are_added_in_chunks_of_their_own(store):
  store.remove(["number/1"])
  store.add(numbered(100, 300))
  assert len(store) == 239
  np.testing.assert_array_equal(
    reopened(store).embedded().embeddings[39:], numbered(100, 300).embeddings
  )
  store.verify()


def test_labels_change(store):
  store.relabel(["number/9", "number/0"], ["wolf", "bee"])
  names = store.class_names
  assert names[-1] == "wolf"
  assert names[store.labels[0]] == "bee" and names[store.labels[9]] == "wolf"
  store.merge_classes(["wolf", "cat"], "dog")
  assert names[store.labels[9]] == "dog" and names[store.labels[2]] == "dog"
  store.merge_classes(["ant"], "insect")
  assert store.class_names[store.labels[5]] == "insect"
  # A name that neither digests in hexadecimal nor numbers happen to spell.
  store.rename_class("bee", "yellow jacket")
  store.rename_class("yellow jacket", "wasp")
  assert not {"bee", "yellow jacket"} & set(store.class_names)
  assert b"yellow jacket" not in all_bytes(store.path)
  store.relabel(["number/1"], [types.UNLABELED])
  assert reopened(store).labels[1] == types.UNLABELED
  store.verify()


def test_compacting_gives_space_back_and_changes_nothing(store):
  store.add(numbered(100, 200))
  store.remove([f"number/{n}" for n in [*range(3, 39), *range(110, 190)]])
  before, size = contents(store), store.contents.num_slots
  store.compact()
  assert contents(store) == contents(reopened(store)) == before
  assert store.contents.num_slots == 32 < size
  verified = store.verify()
  assert verified.num_empty == 32 - 24
  lengths = [len(f"number/{n}") for n in (0, 1, 2, 39)]
  assert store.contents.text_end >= sum(lengths)
  generation = store.contents.generation
  store.compact()
  assert store.contents.generation == generation
  store.add(numbered(300, 340))
  assert [row[0] for row in contents(reopened(store))][:24] == [
    row[0] for row in before
  ]


@pytest.mark.parametrize(
  "edit, error, says",
  [
    (
      lambda s: s.add(numbered(39, 41)),
      ValueError,
      "already in the store, for .*'number/39'",
    ),
    (lambda s: s.add(numbered(50, 51, dim=9)), ValueError, "dimension 9"),
    (lambda s: s.remove(["nobody"]), KeyError, "nobody"),
    (lambda s: s.remove(["number/1"] * 2), ValueError, "Duplicate"),
    (lambda s: s.remove("number/1"), ValueError, "must be a list"),
    (lambda s: s.remove(label="yak"), ValueError, "No class 'yak'"),
    (lambda s: s.remove(where={"who": "?"}), ValueError, "nothing to remove"),
    (lambda s: s.remove(), ValueError, "which rows"),
    (lambda s: s.remove(["number/1"], label=1), ValueError, "not both"),
    (lambda s: s.relabel(["number/1"], [5]), ValueError, "out of range"),
    (lambda s: s.relabel(["number/1"], []), ValueError, "0 labels"),
    (lambda s: s.rename_class("ant", "bee"), ValueError, "already"),
    (lambda s: s.annotate(["number/1"], {"a": set()}), ValueError, "row 0"),
    (
      lambda s: s.add(numbered(50, 52), metadata=[{}]),
      ValueError,
      "2 rows but 1",
    ),
  ],
)
def test_bad_edits_are_refused_and_change_nothing(store, edit, error, says):
  before, generation = contents(store), store.contents.generation
  with pytest.raises(error, match=says):
    edit(store)
  assert contents(reopened(store)) == before
  assert store.contents.generation == generation


def test_rows_of_another_encoder_are_refused(store):
  rows = numbered(50, 52)
  other = types.embedded_set(
    rows.embeddings,
    rows.labels,
    rows.ids,
    class_names=rows.class_names,
    fingerprint="other",
  )
  with pytest.raises(ValueError, match="'other', the store from 'encoder'"):
    store.add(other)


def test_places_that_hold_something_else_are_left_alone(store, tmp_path):
  with pytest.raises(StoreError, match="already"):
    Store.create(store.path, numbered(0, 2))
  (tmp_path / "photos").mkdir()
  (tmp_path / "photos/a.jpg").write_text("photo")
  with pytest.raises(StoreError, match="not empty"):
    Store.create(tmp_path / "photos", numbered(0, 2))
  with pytest.raises(StoreError, match="no store at"):
    Store.open(tmp_path / "nothing")
  with pytest.raises(StoreError, match="no manifest.json"):
    Store.open(tmp_path / "photos")
  with pytest.raises(ValueError, match="power of two"):
    Store.create(tmp_path / "new", numbered(0, 2), rows_per_chunk=12)


# Removal


def test_nothing_of_a_removed_row_is_in_any_file(store):
  store.annotate(["number/7"], {"who": "Ada Lovelace"})
  store.add(numbered(100, 130), metadata={"license": "secret-license"})
  gone = ["number/7", "number/38", *(f"number/{n}" for n in range(100, 130))]
  vectors = rows_of(gone, [0] * len(gone)).embeddings
  before = all_bytes(store.path)
  assert vectors[0].tobytes() in before and b"Ada" in before
  store.put_derived(
    "nearest.bin", vectors.tobytes(), generation=store.contents.generation
  )
  store.remove(gone)
  left = all_bytes(store.path)
  for vector in vectors:
    data = vector.tobytes()
    for start in range(0, len(data) - 15):
      assert data[start : start + 16] not in left
  for text in (b"number/7\n", b"number/38", b"number/1", b"Ada", b"secret"):
    found = text in left
    assert found == (text == b"number/1")  # number/10 to 19 are still there.
  assert b"number/10" + b'{"license' in left and b"number/100" not in left
  assert store.derived("nearest.bin") is None


def test_receipts_name_rows_by_salted_hash(store):
  first = store.remove(["number/3"])
  second = store.remove(label="bee")
  found = reopened(store).receipts()
  assert found == [first, second]
  assert first.names("number/3") and not first.names("number/4")
  assert len(second.removed) == 8 and second.names("number/1")
  assert second.previous == first.digest
  assert second.manifest_after == store.contents.content_digest
  assert "number" not in first.to_json() + second.to_json()
  store.add(numbered(3, 4))  # The same id may come back,
  assert store.verify().num_receipts == 2  # which is no contradiction.


def test_receipts_can_be_signed(store, tmp_path):
  pytest.importorskip("cryptography")
  for name in ("mine", "other"):
    key, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
    subprocess.run(
      ["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True
    )
    subprocess.run(
      ["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True
    )
  receipt = store.remove(["number/3"], key_file=tmp_path / "mine.pem")
  assert reopened(store).receipts() == [receipt]
  receipt.check_signature(tmp_path / "mine.pub")
  with pytest.raises(ValueError, match="not by this key"):
    receipt.check_signature(tmp_path / "other.pub")
  changed = json.loads(receipt.to_json()) | {"time": "2001-01-01"}
  with pytest.raises(ValueError, match="changed after"):
    receipts.from_json(json.dumps(changed)).check_signature(
      tmp_path / "mine.pub"
    )
  with pytest.raises(ValueError, match="not signed"):
    store.remove(["number/4"]).check_signature(tmp_path / "mine.pub")


@pytest.mark.parametrize("damage", ["change", "drop", "forge"])
def test_changed_receipts_are_noticed(store, damage):
  store.remove(["number/3"])
  store.remove(["number/4"])
  path = os.path.join(store.path, "receipts.jsonl")
  data = open(path, "rb").read()
  first, rest = data.split(b"\n", 1)
  if damage == "change":
    data = data.replace(b'"generation":2', b'"generation":9')
  elif damage == "drop":
    data = rest + bytes(len(first) + 1)
  else:
    data = first + b"\n" + first + b"\n" + bytes(100)
  open(path, "wb").write(data)
  with pytest.raises(StoreDamaged, match="receipt"):
    store.verify()


def test_derived_files_of_an_older_generation_are_refused(store):
  generation = store.contents.generation
  store.put_derived("counts", b"123", generation=generation)
  assert store.derived("counts") == b"123"
  store.relabel(["number/1"], ["cat"])
  assert store.derived("counts") is None
  with pytest.raises(StoreError, match="compute it again"):
    store.put_derived("counts", b"123", generation=generation)


def test_derived_files_are_whole_or_absent(store, tmp_path):
  generation = store.contents.generation
  (tmp_path / "index/part").mkdir(parents=True)
  (tmp_path / "index/part/a.bin").write_bytes(bytes(range(256)))
  data = derived.pack(tmp_path / "index")
  store.put_derived("index", data, generation=generation)
  derived.unpack(reopened(store).derived("index"), tmp_path / "copy")
  assert (tmp_path / "copy/part/a.bin").read_bytes() == bytes(range(256))
  path = os.path.join(store.path, "derived/index")
  with open(path, "r+b") as file:
    file.seek(600)
    file.write(b"\xff\xff")
  assert store.derived("index") is None  # As after a crash while it was put.
  for name in ("../ids", "a/b", "", ".hidden"):
    with pytest.raises(ValueError, match="no file name"):
      store.put_derived(name, b"", generation=generation)


def test_the_description_of_a_store_changes(store):
  store.describe({"encoder": "other", "n": [1]})
  assert reopened(store).contents.attributes == {"encoder": "other", "n": [1]}
  assert store.verify().num_rows == 40
  with pytest.raises(ValueError, match="JSON"):
    store.describe({"encoder": object()})


# Damage


@pytest.mark.parametrize(
  "key, byte",
  [
    ("embeddings/c.1.0", 100),
    ("text/c.0", 30),
    ("text/c.4", 200),
    ("labels/c.2", 5),
    ("spans/c.0.0", 100),
    ("mask/c.1", 3),
    ("zarr.json", 20),
    ("embeddings/zarr.json", 60),
    ("manifest.json", 300),
  ],
)
def test_a_flipped_bit_is_found_and_named(store, key, byte):
  store.remove(["number/20"])
  path = os.path.join(store.path, key)
  with open(path, "r+b") as file:
    file.seek(byte)
    value = file.read(1)[0]
    file.seek(byte)
    file.write(bytes([value ^ 4]))
  with pytest.raises(StoreDamaged) as caught:
    reopened(store).verify()
  named = key.split("/")[0]
  assert named in str(caught.value)


def test_rows_beside_a_damaged_one_are_read(store, mesh):
  path = os.path.join(store.path, "embeddings/c.1.0")
  with open(path, "r+b") as file:
    file.seek(4 * store_cases.DIM * 3 + 5)  # In row 16 + 3.
    file.write(b"\xff")
  for read in (store.load, store.embedded, store.verify):
    with pytest.raises(StoreDamaged, match=r"embeddings/c.1.0.*row 19 ") as e:
      read()
    assert len(e.value.problems) == 1
  memory = store.load(mesh=mesh, skip_damaged=True)
  assert set(store.ids) - set(memory.embedded().ids) == {"number/19"}
  store.remove(["number/19"])
  assert store.verify().num_rows == 39


def test_rows_before_the_end_of_a_truncated_chunk_are_read(store):
  path = os.path.join(store.path, "embeddings/c.1.0")
  os.truncate(path, 4 * store_cases.DIM * 5 - 3)
  with pytest.raises(StoreDamaged, match="has 157 bytes instead of 512"):
    store.verify()
  memory = store.load(skip_damaged=True)
  assert set(store.ids) - set(memory.embedded().ids) == {
    f"number/{n}" for n in range(20, 32)
  }


@pytest.mark.parametrize("name", ["labels/c.1", "spans/c.1.0", "text/c.1"])
def test_a_truncated_column_is_named(store, name):
  os.truncate(os.path.join(store.path, name), 7)
  with pytest.raises(StoreDamaged, match=name):
    reopened(store).verify()


def test_a_later_format_is_refused(store):
  path = os.path.join(store.path, "manifest.json")
  data = open(path).read().replace('"format": 2', '"format": 3')
  open(path, "w").write(data)
  with pytest.raises(StoreError, match="upgrade"):
    reopened(store)


# Checks


def test_the_checksum_of_a_chunk_follows_from_its_rows():
  rows = cases.random_rows(64, 5)
  checksums = crc.of_rows(rows)
  for count in (1, 2, 8, 64):
    expected = zlib.crc32(rows[:count].tobytes())
    assert crc.joined(checksums[:count], 20) == expected


def test_a_bad_row_among_many_is_named_and_nothing_is_written(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(row_edits, "_CHECKED_ROWS", 4)
  rows = numbered(0, 20)
  rows.embeddings[[9, 17]] *= 2
  with pytest.raises(ValueError, match=r"row 9 \(id 'number/9'\) has length 2"):
    Store.create(tmp_path / "store", rows)
  assert not (tmp_path / "store").exists()
