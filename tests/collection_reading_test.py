"""What is read of a folder: each picture, once, but for what cannot be."""

import os
import pathlib

import numpy as np
import processes
import pytest
from collection_cases import (
  add,
  build,
  held,
  paint,
  picture_bytes,
  pictures_of,
)

from visual_memory.collection import (
  embedding,
  identity,
  provenance,
)
from visual_memory.collection.identity import Status
from visual_memory.collection.inputs import open_pictures
from visual_memory.data import contents
from visual_memory.store.store import Store


def test_one_name_that_is_no_utf8_costs_the_others_nothing(tmp_path):
  top = paint(tmp_path / "top", {"cat/0.jpg": 0})
  raw = os.fsencode(top / "cat") + b"/caf\xe9.jpg"
  with open(raw, "wb") as file:
    file.write(picture_bytes(1))
  store, report = build(tmp_path / "m", top)
  assert list(store.ids) == ["cat/0.jpg", "cat/caf\\xe9.jpg"]
  assert pictures_of(store, "cat/caf\\xe9.jpg").shape == (6, 6, 3)
  assert add(store, top).num_present == 2


def test_a_stopped_build_goes_on_by_time_and_not_by_number(
  tmp_path, monkeypatch
):
  top = paint(tmp_path / "top", {f"a/{i:02}.jpg": i for i in range(40)})
  monkeypatch.setattr(embedding, "HELD_S", 0.0)
  plain, calls = Store.add, []

  def stopped(self, *arguments, **options):
    plain(self, *arguments, **options)
    calls.append(len(self))
    if len(calls) == 2:
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(Store, "add", stopped)
    with pytest.raises(KeyboardInterrupt):
      build(tmp_path / "m", top, batch_size=1)  # Of each of eight devices.
  assert calls == [8, 16]
  store, report = build(tmp_path / "m", top, batch_size=1)
  assert (report.num_added, report.num_present) == (24, 16)
  whole, _ = build(tmp_path / "whole", top, batch_size=1)
  assert list(store.ids) == list(whole.ids)
  np.testing.assert_array_equal(
    store.embedded().embeddings, whole.embedded().embeddings
  )


def test_answers_come_one_by_one_and_no_picture_is_kept(tmp_path):
  from visual_memory.collection.answering import answers

  store, _ = build(tmp_path / "m", paint(tmp_path / "t", {"a/0.jpg": 0}))
  inbox = paint(tmp_path / "in", {f"{i:03}.jpg": i for i in range(300)})
  pictures, _, _ = open_pictures([str(inbox)])
  read, plain = [], type(pictures).__getitem__

  class Counted(type(pictures)):
    def __getitem__(self, row):
      read.append(row)
      return plain(self, row)

  found = answers(store, Counted(pictures._files), k=1, voter="rank")
  first = next(found)
  assert first["image"].endswith("000.jpg")
  assert len(set(read)) < 300  # The others are not even read.
  found.close()


def test_a_folder_is_read_but_for_what_cannot_be(tmp_path):
  top = paint(tmp_path / "top", {"a/0.jpg": 0, "b/0.jpg": 1, "rex.jpg": 2})
  (top / "a/self").symlink_to(top / "a/self")
  (top / "a/up").symlink_to(top)
  store, report = build(tmp_path / "m", top, "", tmp_path / "nowhere")
  assert list(store.ids) == ["a/0.jpg", "b/0.jpg"]
  assert [path for path, _ in report.problems] == [
    "",
    str(tmp_path / "nowhere"),
  ]
  reasons = dict(report.plan.left_out)
  assert "--class" in reasons["rex.jpg"] and "a/self" in reasons
  report = add(store, top / "rex.jpg", "", class_name="dog")
  assert report.num_added == 1 and held(store)["rex.jpg"] == "dog"


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
  """A folder and a file, refused as the system refuses them to all but root."""
  top = paint(tmp_path / "top", {"a/0.jpg": 0, "a/1.jpg": 2, "b/0.jpg": 1})
  scandir, plain_open = os.scandir, open

  def refused(real, names):
    def call(path, *arguments, **options):
      if isinstance(path, str) and path in names:
        raise PermissionError(13, "Permission denied", path)
      return real(path, *arguments, **options)

    return call

  monkeypatch.setattr(os, "scandir", refused(scandir, {str(top / "b")}))
  monkeypatch.setattr(
    "builtins.open", refused(plain_open, {str(top / "a/1.jpg")})
  )
  store, report = build(tmp_path / "m", top)
  assert list(store.ids) == ["a/0.jpg"]
  assert sorted(report.plan.left_out) == [
    ("a/1.jpg", "Permission denied"),
    ("b", "Permission denied"),
  ]
  monkeypatch.undo()
  assert add(store, top).num_added == 2


def test_a_folder_of_somebody_else_is_named_by_a_real_system(tmp_path):
  """The same as another user, where the tests are run by root."""
  if os.geteuid() != 0:
    pytest.skip("only root can become another user; see the test above")
  top = paint(tmp_path / "top", {"a/0.jpg": 0, "b/0.jpg": 1})
  (top / "b").chmod(0o700)
  for folder in (tmp_path, *tmp_path.parents[:3], top, top / "a"):
    if folder != pathlib.Path("/"):
      folder.chmod(folder.stat().st_mode | 0o055)
  (top / "a/0.jpg").chmod(0o644)
  program = (
    "import os, sys\n"
    "from visual_memory.data.file_trees import DirectoryTree\n"
    "os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
    "tree = DirectoryTree(sys.argv[1])\n"
    "print(tree.paths, tree.problems)\n"
  )
  found = processes.python("-c", program, str(top))
  assert found.stdout == "['a/0.jpg'] [('b', 'Permission denied')]\n", found


def test_files_that_are_as_they_were_are_not_read_again(tmp_path, monkeypatch):
  monkeypatch.setattr(contents, "_SETTLED_NS", 0)
  top = paint(tmp_path / "top", {f"a/{i}.png": i for i in range(4)})
  (top / "a/copy.png").write_bytes((top / "a/0.png").read_bytes())
  store, _ = build(tmp_path / "m", top)
  read, real = [], contents.of_file

  def counted(path):
    read.append(os.path.basename(path))
    return real(path)

  monkeypatch.setattr(contents, "of_file", counted)
  before = store.contents.generation
  with monkeypatch.context() as patch:  # Nor is an encoder waited for.
    patch.setattr(provenance, "load_encoder", lambda _: pytest.fail("loaded"))
    report = add(store, top)
  assert report.num_present == 5 and not read
  assert store.contents.generation == before
  # Other content of one size and one time of its last change.
  changed = top / "a/2.png"
  times = changed.stat()
  data = bytearray(changed.read_bytes())
  data[-1] ^= 1
  changed.write_bytes(data)
  os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
  # Another file in the place of one, of the same size and time.
  other = top / "a/3.png"
  times = other.stat()
  (tmp_path / "new").write_bytes(other.read_bytes()[::-1])
  os.utime(tmp_path / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
  os.replace(tmp_path / "new", other)
  report = add(store, top)
  assert sorted(read) == ["2.png", "3.png"]
  of = [e.found.path for e in report.plan.of(Status.CHANGED)]
  assert of == ["a/2.png", "a/3.png"]
  # What was only touched is read once more, and then not again.
  os.utime(top / "a/1.png")
  for expected in ({"1.png", "2.png", "3.png"}, {"2.png", "3.png"}):
    read.clear()
    assert add(store, top).num_present == 3
    assert set(read) == expected
  read.clear()
  add(store, top, reread=True)
  assert len(read) == 5
  store.verify()


def test_what_changed_a_moment_ago_is_read_again(tmp_path):
  """A coarse clock may give two contents of one file the same times."""
  top = paint(tmp_path / "top", {"a/0.png": 0})
  path = top / "a/0.png"
  _, seen = contents.settled(path, lambda: contents.of_file(path))
  assert seen is None
  store, _ = build(tmp_path / "m", top)
  assert "seen" not in store.metadata(["a/0.png"])[0][identity.PICTURE]
