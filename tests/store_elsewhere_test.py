"""Stores from elsewhere: nothing outside of them changes, the odd is named."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import pickle
import subprocess
import tarfile
import zlib

import numpy as np
import pytest
from store_cases import contents, numbered, small_store

from visual_memory import parallel
from visual_memory.store import derived, receipts, row_edits
from visual_memory.store.errors import (
  StoreDamaged,
  StoreError,
  StoreLocked,
  StoreUnfinished,
)
from visual_memory.store.storage import arrays, journal, local, manifest, remote
from visual_memory.store.storage.place import Overwrite
from visual_memory.store.store import REBUILD, Store


@pytest.fixture
def store(tmp_path):
  """A store of forty rows, one removed, beside a file that is not its own."""
  (tmp_path / "target").write_bytes(b"not yours" * 100)
  store = small_store(tmp_path / "deep" / "store", metadata={"who": "Ada"})
  store.remove(["number/39"])
  return store


def target(store):
  """The file beside the store."""
  return pathlib.Path(store.path).parent.parent / "target"


def journal_of(store, *overwrites, erased=()):
  """Writes a journal that is whole, with the store's own manifest in it."""
  data = store.handle.files.read(manifest.KEY)
  made = journal.Journal(
    overwrites=[*overwrites, Overwrite.whole(manifest.KEY, data)],
    erased=erased,
  )
  path = pathlib.Path(store.path, journal.KEY)
  path.write_bytes(made.to_bytes().ljust(1 << 16, b"\0"))


# What is outside stays as it is


@pytest.mark.parametrize(
  "key",
  [
    "../../target",
    "embeddings/../../../target",
    "text/c.9",
    "lock",
    "a\0b",
    "embeddings/c.0.0/x",
    "labels/c.00",
  ],
)
@pytest.mark.parametrize("how", ["overwrite", "erase"])
def test_a_journal_changes_nothing_but_the_stores_files(store, key, how):
  if how == "overwrite":
    journal_of(store, Overwrite.whole(key, b"mine" * 10))
  elif key == "text/c.9":
    return  # An edit may give chunks up: nothing is there to be erased.
  else:
    journal_of(store, erased=[key])
  before = target(store).read_bytes()
  with pytest.raises(StoreDamaged, match="do not use this store"):
    Store.open(store.path)
  assert target(store).read_bytes() == before
  assert not os.path.exists(os.path.join(store.path, "text/c.9"))


def test_a_journal_cannot_grow_or_repeat_what_it_likes(store):
  end = np.array([1 << 45], np.int64)
  for overwrite, says in (
    (
      Overwrite(key="text/c.0", offsets=end, lengths=end // end, data=b"x"),
      "has 256 bytes",
    ),
    (
      Overwrite(key="text/c.0", offsets=-end, lengths=end, data=None),
      "ranges that no file has",
    ),
    (Overwrite.whole(manifest.KEY, b"{}"), "not one manifest"),
  ):
    journal_of(store, overwrite)
    with pytest.raises(StoreDamaged, match=says):
      Store.open(store.path)


@pytest.mark.parametrize("key", ["embeddings/c.0.0", "text/c.1", "journal"])
@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "loop"])
def test_no_link_is_followed(store, key, kind):
  path = pathlib.Path(store.path, key)
  outside = pathlib.Path(store.path).parent / "outside"
  if kind == "folder" and "/" in key:
    os.rename(path.parent, outside)
    path.parent.symlink_to(outside)
  else:
    os.rename(path, outside)
    if kind == "pipe":
      os.mkfifo(path)
    else:
      path.symlink_to(outside if kind != "loop" else path)
  files = [outside] if outside.is_file() else sorted(outside.iterdir())
  before = [file.read_bytes() for file in files]
  with pytest.raises(StoreDamaged, match="is a link|instead of|not the array"):
    opened = Store.open(store.path)
    opened.verify()
  with contextlib.suppress(StoreError):  # It may not need that file.
    Store(store.handle.files).remove(["number/1", "number/2"])
  assert [file.read_bytes() for file in files] == before


def test_files_of_others_are_named_and_left_alone(store):
  odd = [
    "embeddings/c.0.0.bak", "embeddings/c.9.0.bak", "derived/sub/x", "notes",
    "labels/c.00", "text/deep/er",
  ]  # fmt: skip
  for key in odd:
    path = pathlib.Path(store.path, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"rows?")
  os.symlink("/", os.path.join(store.path, "link"))
  opened = Store.open(store.path)
  opened.relabel(["number/1"], ["bee"])
  with pytest.raises(StoreDamaged) as caught:
    opened.verify()
  named = "\n".join(caught.value.problems)
  for key in (odd[0], odd[1], odd[3], odd[4], "link"):
    assert f"{key}: is no file of this store" in named
  for key in ("derived/sub/", "text/deep/"):
    assert f"{key}: is no file of this store" in named
  for key in odd:
    assert os.path.exists(os.path.join(store.path, key))


def test_values_that_no_row_has_are_refused(tmp_path):
  for name, value in (
    ("labels", 99),
    ("serials", 5),
    ("serials", 2**40),
    ("spans", -8),
    ("spans", 2**50),
    ("mask", 2),
  ):
    path = tmp_path / f"{name}{value}"
    store = small_store(path)
    column = store.handle.read(lambda s, n=name: s.columns[n].copy())
    if name == "mask":
      column = column.view(np.uint8)
    column.flat[0] = value
    _replace_column(path, name, column)
    with pytest.raises(StoreDamaged, match=name):
      Store.open(path).embedded()


def _replace_column(path, name, column):
  """Writes the first chunk of a column, and a manifest that agrees."""
  file = json.loads((path / manifest.KEY).read_bytes())
  of = manifest.from_bytes((path / manifest.KEY).read_bytes())
  data = column[: of.rows_per_chunk].tobytes()
  key = "c.0.0" if column.ndim > 1 else "c.0"
  (path / name / key).write_bytes(data)
  chunks = file["content"]["chunks"]
  at = 8 * list(arrays.COLUMNS).index(name)
  digits = f"{zlib.crc32(data):08x}"
  chunks[0][1] = chunks[0][1][:at] + digits + chunks[0][1][at + 8 :]
  new = manifest.dataclasses.replace(
    of, chunks=tuple(manifest.Chunk(*chunk) for chunk in chunks)
  )
  (path / manifest.KEY).write_bytes(new.to_bytes())


def test_rows_that_are_not_unit_are_refused_with_right_checksums(
  tmp_path, monkeypatch
):
  rows = numbered(0, 40)
  rows.embeddings[3], rows.embeddings[20] = np.nan, 2 * rows.embeddings[20]
  monkeypatch.setattr(row_edits, "check_unit_rows", lambda rows, ids: None)
  store = Store.create(tmp_path / "store", rows, rows_per_chunk=16)
  for read in (store.embedded, store.load, store.verify):
    with pytest.raises(StoreDamaged, match="row 3 .* of unit length") as caught:
      read()
    assert len(caught.value.problems) == 2
  assert len(store.load(skip_damaged=True)) == 38


# Receipts


@pytest.mark.parametrize("damage", ["last", "all", "emptied"])
def test_a_shortened_trail_is_noticed(store, damage):
  store.remove(["number/38"])
  kept = [receipt.digest for receipt in store.receipts()]
  lines = [receipt.to_json() for receipt in store.receipts()]
  if damage == "emptied":
    changed = json.loads(lines[1]) | {"removed": []}
    lines[1] = json.dumps(changed, sort_keys=True, separators=(",", ":"))
  else:
    lines = lines[:1] if damage == "last" else []
  data = "".join(line + "\n" for line in lines).encode()
  last = receipts.from_json(lines[-1]).digest if lines else ""
  trail = manifest.Trail(count=len(lines), num_bytes=len(data), last=last)
  pathlib.Path(store.path, "receipts.jsonl").write_bytes(data)
  path = pathlib.Path(store.path, manifest.KEY)
  file = json.loads(path.read_bytes())
  file["receipts"] = vars(trail)
  path.write_bytes(json.dumps(file).encode())
  with pytest.raises(StoreDamaged, match="its own digest"):
    Store.open(store.path).verify()
  # Whoever computes the digest again is found out by what was kept elsewhere.
  of = manifest.from_bytes(_resealed(file, trail))
  path.write_bytes(of.to_bytes())
  forged = Store.open(store.path)
  forged.verify()
  with pytest.raises(StoreDamaged, match="trail was cut"):
    forged.verify(kept=kept[1])


def _resealed(file, trail):
  """A manifest's file whose digest is right again."""
  content = dict(file["content"])
  names, chunks = content.pop("class_names"), content.pop("chunks")
  return manifest.Manifest(
    **content,
    class_names=tuple(names),
    chunks=tuple(manifest.Chunk(*chunk) for chunk in chunks),
    trail=trail,
  ).to_bytes()


def test_what_follows_the_last_receipt_is_noticed(store):
  path = pathlib.Path(store.path, "receipts.jsonl")
  data = path.read_bytes()
  path.write_bytes(data.rstrip(b"\0") + b"number/39\n")
  with pytest.raises(StoreDamaged, match="follows the last receipt"):
    Store.open(store.path).verify()


def test_a_bogus_signature_is_noticed(store, tmp_path):
  pytest.importorskip("cryptography")
  key = tmp_path / "key.pem"
  make = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", key]
  subprocess.run(make, check=True)
  receipt = store.remove(["number/38"], key_file=key)
  assert receipt.check_own_signature() and store.verify().num_signed == 1
  for field, value in (
    ("signature", "ab" * 64),
    ("signature", ""),
    ("time", "2001-01-01"),
  ):
    changed = json.loads(receipt.to_json()) | {field: value}
    forged = receipts.from_json(json.dumps(changed))
    with pytest.raises(ValueError, match="not by this key|key"):
      forged.check_own_signature()
  with pytest.raises(ValueError, match="no private key"):
    store.remove(["number/37"], key_file=__file__)
  assert "number/37" in store.ids


# Removed means removed, everywhere


@pytest.mark.parametrize("url", ["{}/store", "file://{}/store"])
def test_derived_files_of_any_name_are_erased(tmp_path, url):
  store = small_store(url.format(tmp_path))
  names = ["index", "ähnlich", "日本", "\N{SNOWMAN}.bin", "\x7fx", "zz"]
  for name in names:
    store.put_derived(name, b"12345", generation=store.contents.generation)
  assert len(list((tmp_path / "store/derived").iterdir())) == len(names)
  store.remove(["number/1"])
  assert not list((tmp_path / "store/derived").iterdir())
  store.verify()


@pytest.mark.parametrize("through_link", [False, True])
def test_a_half_done_rebuild_forgets_too(tmp_path, through_link):
  (tmp_path / "real").mkdir()
  path = tmp_path / "real" / "store"
  small_store(path)
  beside = f"{path}{REBUILD}"
  subprocess.run(["cp", "-r", path, beside], check=True)
  other = Store.open(beside)
  other.annotate(["number/2", "number/3"], {"who": "Ada Lovelace"})
  other.describe({"owner": "Ada"})
  if through_link:
    (tmp_path / "link").symlink_to(path)
    path = tmp_path / "link"
  store = Store.open(path)
  store.remove(["number/2"])
  store.annotate(["number/3"], {"who": "nobody"})
  store.rename_class("ant", "aunt")
  store.describe({"owner": "nobody"})
  left = Store.open(beside)
  assert {"number/2", "number/3"}.isdisjoint(left.ids)
  assert left.class_names[0] == "aunt"
  data = b"".join(
    file.read_bytes()
    for file in pathlib.Path(beside).rglob("*")
    if file.is_file()
  )
  assert b"Ada" not in data and b'"ant"' not in data
  left.verify()


def test_what_only_has_the_name_of_a_rebuild_stays(tmp_path):
  store = small_store(tmp_path / "store")
  for make in (
    lambda p: (p.mkdir(), (p / "photo.jpg").write_bytes(b"x")),
    lambda p: small_store(p),
    lambda p: (p.mkdir(), (p / "manifest.json").write_text("{}")),
  ):
    beside = tmp_path / f"store{REBUILD}"
    make(beside)
    before = {p: p.read_bytes() for p in beside.rglob("*") if p.is_file()}
    row_id = store.ids[0]
    store.remove([row_id])
    after = {p: p.read_bytes() for p in beside.rglob("*") if p.is_file()}
    assert {k: v for k, v in after.items() if k.name != "lock"} == {
      k: v for k, v in before.items() if k.name != "lock"
    }
    subprocess.run(["rm", "-r", beside], check=True)


def test_an_archive_is_unpacked_below_its_folder_or_not_at_all(tmp_path):
  (tmp_path / "target").write_bytes(b"not yours")
  for name, kind in (
    ("../target", tarfile.REGTYPE),
    ("link", tarfile.SYMTYPE),
    ("link", tarfile.LNKTYPE),
    ("device", tarfile.CHRTYPE),
  ):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
      entry = tarfile.TarInfo(name)
      entry.type, entry.linkname = kind, "../target"
      archive.addfile(entry, io.BytesIO(b""))
    with pytest.raises(StoreDamaged, match="cannot be unpacked"):
      derived.unpack(buffer.getvalue(), tmp_path / "inside")
  with pytest.raises(StoreDamaged, match="cannot be unpacked"):
    derived.unpack(b"no archive at all", tmp_path / "inside")
  assert (tmp_path / "target").read_bytes() == b"not yours"


# Locks


def test_a_lease_is_renewed_and_its_loss_is_noticed(tmp_path, monkeypatch):
  monkeypatch.setattr(remote, "LEASE_S", 0.4)
  monkeypatch.setattr(remote, "_CLOCKS_S", 0.2)
  url = f"file://{tmp_path}/store"
  store = small_store(url)
  before = contents(store)
  with store.handle.editing() as edit:
    remote.time.sleep(1.0)  # Longer than a lease: it was renewed meanwhile.
    with pytest.raises(StoreLocked, match="being edited by process"):
      Store.open(url, timeout_s=0.05).relabel(["number/1"], ["bee"])
    edit.set(attributes={"late": True})
    edit.commit()
  assert store.attributes == {"late": True}
  # A writer that could not renew it finds out, and writes nothing more.
  monkeypatch.setattr(remote, "_RENEWALS", 0.01)
  with pytest.raises(StoreLocked, match="was lost"):
    with store.handle.editing() as edit:
      edit.set(attributes={"lost": True})
      remote.time.sleep(0.8)
      Store.open(url, timeout_s=1.0).describe({"other": True})
      edit.commit()
  assert Store.open(url).attributes == {"other": True}
  assert contents(Store.open(url)) == before
  store.verify()


def test_a_process_of_another_container_is_not_taken_for_dead(tmp_path):
  store = small_store(f"file://{tmp_path}/store")
  child = subprocess.Popen(["true"])
  child.wait()
  owner = {"pid": child.pid, "host": os.uname().nodename}
  owner["until"] = remote.time.time() + 100
  path = tmp_path / "store/lock"
  path.write_text(json.dumps(owner))
  with pytest.raises(StoreLocked, match=f"process {child.pid} on"):
    Store.open(store.path, timeout_s=0.05).remove(["number/2"])
  for over in ({**owner, "until": 1.0}, {"until": "x"}, [], 5, {}):
    path.write_text(json.dumps(over))
    store.relabel(["number/2"], ["bee"])


def test_two_writers_of_a_deleted_lock_file_are_not_both_told_yes(store):
  with pytest.raises(StoreLocked, match="deleted or replaced"):
    with store.handle.editing() as edit:
      os.unlink(os.path.join(store.path, "lock"))
      Store.open(store.path).describe({"other": True})
      edit.set(attributes={"mine": True})
      edit.commit()
  assert store.attributes == {"other": True}
  with pytest.raises(StoreLocked, match="Another writer has edited"):
    with store.handle.editing() as edit:
      edit.set(attributes={"mine": True})
      stale = manifest.dataclasses.replace(edit.state.manifest, generation=1)
      edit.state.manifest = stale
      edit.commit()
  store.verify()


def test_without_locks_a_store_is_read_and_not_edited(store, monkeypatch):
  def flock(file, how):
    raise OSError(37, "No locks available")

  monkeypatch.setattr(local.fcntl, "flock", flock)
  local._warn_of_no_locks.cache_clear()
  with pytest.warns(UserWarning, match="has no locks: it is read without"):
    opened = Store.open(store.path)
  assert len(opened.embedded()) == len(opened.load()) == 39
  with pytest.raises(StoreError, match="local disk, or mount"):
    opened.remove(["number/1"])


def test_an_error_after_the_commit_says_that_the_edit_is_in(store, monkeypatch):
  whole = journal._apply

  def broken(files, overwrites):
    raise OSError(5, "Input/output error")

  monkeypatch.setattr(journal, "_apply", broken)
  with pytest.raises(StoreUnfinished, match="Do not make the edit again"):
    store.remove(["number/1"])
  monkeypatch.setattr(journal, "_apply", whole)
  assert "number/1" not in Store.open(store.path).ids
  assert len(store.receipts()) == 2
  store.verify()


def test_a_store_in_a_file_or_a_place_without_one_is_told(tmp_path):
  (tmp_path / "file").write_text("x")
  with pytest.raises(StoreError, match="is no directory"):
    Store.open(tmp_path / "file")
  files = pickle.loads(pickle.dumps(small_store(tmp_path / "s").handle.files))
  assert files.root == str(tmp_path / "s")
  assert parallel.run(files.size, ["lock", "none"]) != [0, 0]


@pytest.mark.parametrize("more", [1, -1, -5])
def test_a_wrong_number_of_rows_stays_wrong(store, more):
  """However often it is asked, and whatever is tried in between."""
  path = pathlib.Path(store.path, manifest.KEY)
  of = manifest.from_bytes(path.read_bytes())
  wrong = dataclasses.replace(of, num_rows=of.num_rows + more)
  path.write_bytes(wrong.to_bytes())
  forged = Store.open(store.path)
  for ask in (
    forged.embedded, forged.embedded, lambda: forged.ids, lambda: forged.labels,
    lambda: forged.remove(["number/3"]), forged.compact, forged.embedded,
  ):  # fmt: skip
    with pytest.raises(StoreDamaged, match="another number of rows"):
      ask()
