"""A memory of one's own pictures never confuses two of them.

Each test here is a folder as it is in real life, in which pictures were once
lost, doubled, mislabelled or replaced without a word.
"""

import functools
import io
import os
import pathlib
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from collection_cases import add, build, encoder, held, paint, picture_bytes
from PIL import Image

import visual_memory as vm
from visual_memory.cli import main as cli
from visual_memory.collection import (
  embedding,
  identity,
  ingest,
  meant_rows,
  plan,
  provenance,
)
from visual_memory.collection.identity import Status
from visual_memory.collection.inputs import open_pictures
from visual_memory.collection.relocation import relocate
from visual_memory.data import contents
from visual_memory.data.decoding import UnreadableImage
from visual_memory.store.errors import StoreError, StoreLocked
from visual_memory.store.storage import state
from visual_memory.store.store import Store


def vectors(store):
  """{id: embedding} of a memory."""
  rows = store.embedded()
  return dict(zip(rows.ids.tolist(), rows.embeddings, strict=True))


def test_different_pictures_of_one_relative_name_are_all_there(tmp_path):
  names = ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
  for number, folder in enumerate("abc"):
    seeds = {name: 10 * number + k for k, name in enumerate(names)}
    paint(tmp_path / folder, seeds)
  store, _ = build(tmp_path / "m", tmp_path / "a")
  for folder in "bc":
    assert add(store, tmp_path / folder).num_added == 3
  assert len(store) == 9 and set(names) < set(store.ids)
  assert {"b/cat/1.jpg", "c/cat/1.jpg"} < set(store.ids)
  assert sorted(held(store).values()) == ["cat"] * 6 + ["dog"] * 3
  for folder in "abc":  # And each folder is known again.
    report = add(store, tmp_path / folder)
    assert (report.num_added, report.num_present) == (0, 3)


def test_with_a_class_named_a_bare_file_name_hides_no_other(tmp_path):
  for trip in (1, 2, 3):
    paint(tmp_path, {f"trip{trip}/DCIM/IMG_1.jpg": trip})
  first = tmp_path / "trip1/DCIM/IMG_1.jpg"
  store, _ = build(tmp_path / "m", first, class_name="us")
  for trip in (2, 3):
    image = tmp_path / f"trip{trip}/DCIM/IMG_1.jpg"
    assert add(store, image, class_name="us").num_added == 1
  assert list(store.ids) == [
    "IMG_1.jpg",
    "DCIM/IMG_1.jpg",
    "trip3/DCIM/IMG_1.jpg",
  ]
  assert meant_rows.find(store, [str(tmp_path / "trip2/DCIM/IMG_1.jpg")]) == [
    "DCIM/IMG_1.jpg"
  ]


def test_ids_and_classes_stay_when_a_second_top_folder_appears(tmp_path):
  top = paint(tmp_path / "top", {"pets/cat/0.jpg": 0, "pets/dog/0.jpg": 1})
  store, _ = build(tmp_path / "m", top)
  before = held(store)
  assert before == {"cat/0.jpg": "cat", "dog/0.jpg": "dog"}
  paint(top, {"wild/fox/0.jpg": 2})
  report = add(store, top)
  assert (report.num_added, report.num_present) == (1, 2)
  assert held(store) == {**before, "wild/fox/0.jpg": "fox"}
  chosen = meant_rows.find(store, ["pets/cat/0.jpg"])
  _, removed = meant_rows.forget(store, chosen)
  assert removed == ["cat/0.jpg"] and "cat/0.jpg" not in store.ids


def test_a_class_keeps_its_name_when_another_folder_bears_it(tmp_path):
  top = paint(tmp_path / "top", {"x/cat/0.jpg": 0, "x/dog/0.jpg": 1})
  store, _ = build(tmp_path / "m", top)
  paint(top, {"y/cat/1.jpg": 2})
  report = add(store, top)
  assert held(store)["y/cat/1.jpg"] == "cat"
  assert store.class_names == ("cat", "dog")
  assert any("--class-level path" in line for line in report.remarks())


def test_what_class_folders_mean_is_said_with_the_flag_that_decides(tmp_path):
  top = paint(tmp_path / "top", {"x/cat/0.jpg": 0, "y/cat/0.jpg": 1})
  store, report = build(tmp_path / "m", top)
  assert store.class_names == ("x/cat", "y/cat")
  assert any("--class-level last" in line for line in report.remarks())
  one, _ = build(tmp_path / "one", top, class_level="last")
  assert one.class_names == ("cat",) and len(one) == 2
  deep = paint(tmp_path / "deep", {"dog/0.jpg": 0, "dog/best/1.jpg": 1})
  store, report = build(tmp_path / "two", deep)
  assert set(held(store).values()) == {"dog", "best"}
  assert any("--class-level 1" in line for line in report.remarks())
  store, report = build(tmp_path / "three", deep, class_level="1")
  assert set(held(store).values()) == {"dog"} and not report.plan.notes
  paint(deep, {"dog/worst/2.jpg": 2})  # Decided once.
  add(store, deep)
  assert set(held(store).values()) == {"dog"}


@pytest.mark.parametrize(
  "names",
  [("Training", "Validation"), ("Train", "Test"), ("training_set", "valid")],
)
def test_splits_are_no_classes_whatever_their_spelling(tmp_path, names):
  files = {
    f"{s}/{c}/0.jpg": 10 * k + ord(c) for k, s in enumerate(names) for c in "ab"
  }
  top = paint(tmp_path / "top", files)
  with pytest.raises(ValueError, match="--split"):
    build(tmp_path / "m", top)
  store, _ = build(tmp_path / "m", top, split=names[0].lower())
  assert held(store) == {f"{names[0]}/{c}/0.jpg": c for c in "ab"}
  assert add(store, top).num_added == 0  # Which split was decided once.
  paint(tmp_path / "odd", {"train/a/0.jpg": 0, "bus/1.jpg": 1})
  _, report = build(tmp_path / "n", tmp_path / "odd")
  assert any("--split train" in line for line in report.remarks())


def test_a_moved_folder_is_said_and_nothing_is_emptied(tmp_path, monkeypatch):
  from visual_memory.cli import main

  paint(tmp_path / "photos", {f"{c}/{i}.jpg": i + 9 * ord(c) for c in "ab"
                              for i in range(3)})  # fmt: skip
  monkeypatch.chdir(tmp_path)
  store, _ = build("memory", "photos")
  os.rename("photos", "moved")
  words = ["rebuild", "-e", "pixels", "--option", "size=3", "--drop-missing"]
  assert main.main(words) == 1
  assert len(Store.open("memory")) == 6  # More than half: it needs --yes.
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match="None of the 6"):
    relocate(store, "photos", "empty")
  with pytest.raises(ValueError, match="No picture was added from"):
    relocate(store, "elsewhere", "moved")
  assert relocate(store, "photos", "moved").num_found == 6
  assert main.main(words[:-1]) == 0
  assert Store.open("memory").contents.dim == 27
  assert add(Store.open("memory"), "moved").num_present == 6


def test_another_picture_at_the_same_path_is_not_the_one(tmp_path):
  top = paint(tmp_path / "top", {"cat/0.jpg": 0, "dog/0.jpg": 1})
  store, _ = build(tmp_path / "m", top)
  old = vectors(store)
  paint(top, {"cat/0.jpg": 7})
  pictures = provenance.Pictures(provenance.origins_of(store))
  metadata = store.metadata(["cat/0.jpg"])[0]
  with pytest.raises(UnreadableImage, match="another picture lies there"):
    pictures.read("cat/0.jpg", metadata)
  report = add(store, top)
  assert len(report.plan.of(Status.CHANGED)) == 1 and report.num_added == 0
  assert any("--update" in line for line in report.remarks())
  np.testing.assert_array_equal(vectors(store)["cat/0.jpg"], old["cat/0.jpg"])
  report = add(store, top, update=True)
  assert report.num_updated == 1 and len(store) == 2
  new = encoder().encode([pictures_of(store, "cat/0.jpg")])[0]
  np.testing.assert_allclose(vectors(store)["cat/0.jpg"], new, atol=1e-6)
  assert not np.allclose(new, old["cat/0.jpg"])
  assert held(store) == {"cat/0.jpg": "cat", "dog/0.jpg": "dog"}
  store.verify()


def pictures_of(store, row_id):
  pictures = provenance.Pictures(provenance.origins_of(store))
  return pictures.read(row_id, store.metadata([row_id])[0])


def test_moved_swapped_and_copied_pictures_are_known_again(tmp_path):
  top = paint(tmp_path / "top", {f"{c}/{i}.jpg": i + 10 * (c == "b")
                                 for c in "ab" for i in range(3)})  # fmt: skip
  store, _ = build(tmp_path / "m", top)
  before = held(store), vectors(store)
  os.rename(top / "a/0.jpg", top / "a/x.jpg")  # Swapped, through a third name.
  os.rename(top / "a/1.jpg", top / "a/0.jpg")
  os.rename(top / "a/x.jpg", top / "a/1.jpg")
  os.rename(top / "a/2.jpg", top / "b/9.jpg")  # Into another class's folder.
  (top / "b/copy.jpg").write_bytes((top / "b/0.jpg").read_bytes())
  report = add(store, top)
  assert report.num_added == 0 and report.plan.missing == ()
  assert len(report.plan.of(Status.MOVED)) == 3
  assert len(report.plan.of(Status.COPY)) == 1
  assert [e.id for e in report.plan.conflicts] == ["a/2.jpg"]
  assert held(store) == before[0]
  for row_id, vector in vectors(store).items():
    np.testing.assert_array_equal(vector, before[1][row_id])
    pictures_of(store, row_id)  # Where it lies now.
  assert meant_rows.find(store, ["b/9.jpg"]) == ["a/2.jpg"]
  assert add(store, top, update=True).num_relabelled == 0  # Known there now.


def test_the_forgotten_stay_out_wherever_they_are_found(tmp_path):
  top = paint(tmp_path / "top", {f"a/{i}.jpg": i for i in range(4)})
  store, _ = build(tmp_path / "m", top)
  meant_rows.forget(store, ["a/1.jpg"])
  report = add(store, top)
  assert len(report.plan.of(Status.FORGOTTEN)) == 1 and len(store) == 3
  assert any("--forgotten" in line for line in report.remarks())
  paint(tmp_path / "other", {"z/renamed.jpg": 1})
  report = add(store, tmp_path / "other")
  assert (report.num_added, len(report.plan.of(Status.FORGOTTEN))) == (0, 1)
  report = add(store, tmp_path / "other", forgotten_too=True)
  assert report.num_added == 1 and "z/renamed.jpg" in store.ids
  meant_rows.forget(store, ["a/2.jpg"])
  paint(top, {"a/3.jpg": 2})  # In the place of another picture.
  report = add(store, top, update=True)
  assert report.num_updated == 0 and len(report.plan.of(Status.FORGOTTEN)) == 2
  store.verify()


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
  found = subprocess.run(
    [sys.executable, "-c", program, str(top)],
    cwd=pathlib.Path(__file__).parents[1],
    capture_output=True,
    text=True,
  )
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


def noise_png(seed):
  """A picture of noise, its bytes stored as they are: all of one size."""
  pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "png", compress_level=0)
  return file.getvalue()


@functools.cache
def twins():
  """Two PNGs of one size and CRC-32.

  The chunks of a PNG end with CRCs, which that of the file then forgets.
  """
  seen = {}
  for seed in range(40_000):
    data = noise_png(seed)
    other = seen.setdefault((len(data), zlib.crc32(data)), seed)
    if other != seed:
      return noise_png(other), data
  raise AssertionError("no two PNGs of one size and CRC-32")


def twin_arrays():
  """Two images [1, 4, 2, 3] whose .npy files have one size and CRC-32."""
  file = io.BytesIO()
  np.save(file, np.zeros((1, 4, 2, 3), np.uint8))
  begun = zlib.crc32(file.getvalue()[:-24])
  draw, seen = np.random.default_rng(0), {}
  for image in draw.integers(0, 256, (400_000, 1, 4, 2, 3), np.uint8):
    other = seen.setdefault(zlib.crc32(image, begun), image)
    if other is not image:
      return other, image
  raise AssertionError("no two arrays of one CRC-32")


@pytest.mark.parametrize("kind", ["folder", "zip", "npz"])
def test_kept_embeddings_are_not_those_of_a_picture_of_one_checksum(
  tmp_path, kind
):
  rows = []
  for data in twin_arrays() if kind == "npz" else twins():
    if kind == "folder":
      top, source = tmp_path / "top", "folder"
      (top / "a").mkdir(parents=True, exist_ok=True)
      (top / "a/1.png").write_bytes(data)
    elif kind == "zip":
      top, source = tmp_path / "top.zip", "folder"
      with zipfile.ZipFile(top, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a/1.png"), data)
    else:
      top, source = tmp_path / "top.npz", "npz"
      np.savez(top, images=data, labels=np.zeros(1, int))
    opened = vm.open_source(source, path=top)
    found = vm.embed(
      encoder(), opened, cache_dir=tmp_path / "cache", progress=False
    )
    rows.append(found.embeddings)
  assert not np.array_equal(*rows)


@pytest.mark.parametrize("archived", [False, True])
def test_pictures_of_one_checksum_are_not_one_picture(tmp_path, archived):
  files = dict(zip(("a/1.png", "b/2.png"), twins(), strict=True))
  if archived:
    top = tmp_path / "top.zip"
    with zipfile.ZipFile(top, "w") as archive:
      for name, data in files.items():
        archive.writestr(name, data)
  else:
    top = tmp_path / "top"
    for name, data in files.items():
      (top / name).parent.mkdir(parents=True)
      (top / name).write_bytes(data)
  store, report = build(tmp_path / "m", top)
  assert sorted(store.ids) == sorted(files) and not report.plan.left_out
  assert add(store, top).num_present == 2
  pictures = provenance.Pictures(provenance.origins_of(store))
  for row_id, record in zip(store.ids, store.metadata(store.ids), strict=True):
    np.testing.assert_array_equal(
      pictures.read(row_id, record),
      np.asarray(Image.open(io.BytesIO(files[row_id]))),
    )
  # One in the place of the other is another one.
  if not archived:
    (top / "a/1.png").write_bytes(files["b/2.png"])
    record = store.metadata(["a/1.png"])[0]
    with pytest.raises(UnreadableImage, match="another picture"):
      pictures.read("a/1.png", record)


def test_what_changed_a_moment_ago_is_read_again(tmp_path):
  """A coarse clock may give two contents of one file the same times."""
  top = paint(tmp_path / "top", {"a/0.png": 0})
  path = top / "a/0.png"
  _, seen = contents.settled(path, lambda: contents.of_file(path))
  assert seen is None
  store, _ = build(tmp_path / "m", top)
  assert "seen" not in store.metadata(["a/0.png"])[0][identity.PICTURE]


def test_a_memory_of_an_earlier_version_says_what_to_do(tmp_path, capsys):
  top = paint(tmp_path / "top", {"a/0.png": 0, "b/0.png": 1})
  store, _ = build(tmp_path / "m", top)
  about = {k: v for k, v in store.attributes.items() if k != "pruning"}
  options = {"path": str(top), "split": None}
  store.describe(
    {**about, "origins": [{"name": "folder", "options": options, "prefix": ""}]}
  )
  store.annotate(list(store.ids), [{"origin": 0}] * 2)
  run = lambda *words: cli.main([*words, "-s", store.path])
  for words in (("add", str(top)), ("rebuild", "-e", "pixels"),
                ("relocate", str(top), str(top))):  # fmt: skip
    assert run(*words) == 1
    says = capsys.readouterr().err
    assert f"visual-memory build {top} --store" in says, says
    assert says.count("\n") <= 2
  # It answers, and may be edited.
  assert run("classify", str(top / "a/0.png"), "-k", "1") == 0
  assert run("info") == 0 and "earlier version" in capsys.readouterr().out
  assert run("explain", str(top / "a/0.png"), "--no-open",
             "-o", str(tmp_path / "why.html")) == 0  # fmt: skip
  assert run("relabel", "a/0.png", "--to", "c") == 0
  assert run("remove", "a/0.png", "--yes") == 0 and len(store) == 1


def test_two_builds_at_once_the_second_stops_before_it_works(tmp_path):
  top = paint(tmp_path / "top", {"a/0.jpg": 0})
  program = (
    "import sys\n"
    "from visual_memory.collection import ingest\n"
    "with ingest.alone(sys.argv[1]):\n"
    "  print('held', flush=True)\n"
    "  sys.stdin.read()\n"
  )
  with subprocess.Popen(
    [sys.executable, "-c", program, str(tmp_path / "m")],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    cwd=pathlib.Path(__file__).parents[1],
    text=True,
  ) as other:
    assert other.stdout.readline() == "held\n"
    with pytest.raises(StoreLocked, match="at work"):
      build(tmp_path / "m", top)
    other.communicate("")
  store, _ = build(tmp_path / "m", top)
  with ingest.alone(tmp_path / "m"):
    with pytest.raises(StoreLocked, match="at work"):
      add(store, top)
  with pytest.raises(StoreError, match="already"):
    build(tmp_path / "m", top)


def test_a_copy_within_one_folder_is_there_once_and_goes_at_once(tmp_path):
  top = paint(tmp_path / "top", {"a/0.jpg": 0, "a/1.jpg": 1, "b/2.jpg": 0})
  store, report = build(tmp_path / "m", top)
  assert held(store) == {"a/0.jpg": "a", "a/1.jpg": "a"}
  assert [e.found.path for e in report.plan.conflicts] == ["b/2.jpg"]
  os.unlink(top / "a/0.jpg")
  assert pictures_of(store, "a/0.jpg").shape == (6, 6, 3)  # From its copy.
  assert meant_rows.find(store, [str(top / "b/2.jpg")]) == ["a/0.jpg"]
  meant_rows.forget(store, ["a/0.jpg"])
  report = add(store, top)
  assert len(report.plan.of(Status.FORGOTTEN)) == 1 and len(store) == 1


def test_a_dry_run_changes_nothing(tmp_path):
  top = paint(tmp_path / "top", {"a/0.jpg": 0, "a/1.jpg": 1})
  store, report = build(tmp_path / "m", top, dry_run=True)
  assert store is None and report.num_added == 2
  assert not os.path.exists(tmp_path / "m")
  store, _ = build(tmp_path / "m", top)
  generation = store.contents.generation
  paint(top, {"a/2.jpg": 2, "a/1.jpg": 9})
  report = add(store, top, dry_run=True, update=True)
  assert (report.num_added, report.num_updated) == (1, 1)
  assert store.contents.generation == generation


def test_a_small_memory_is_small(tmp_path):
  top = paint(tmp_path / "top", {f"a/{i}.jpg": i for i in range(36)})
  store, _ = build(tmp_path / "m", top)
  assert store.contents.rows_per_chunk == 256
  whole = sum(
    f.stat().st_size for f in (tmp_path / "m").rglob("*") if f.is_file()
  )
  rows = 256 * 4 * store.contents.dim
  assert whole - rows + 256 * 4 * 384 < 1e6  # With the shipped encoder's D.


@pytest.mark.parametrize("name", ['é \\ "1".jpg', "1.jpg"])
def test_adding_one_picture_reads_no_record_of_others(
  tmp_path, monkeypatch, name
):
  """And judges it as it would with all of them."""
  there = {f"{c}/{n}.jpg": 10 * ord(c) + n for c in "ab" for n in range(4)}
  paint(tmp_path / "top", there | {f"b/{name}": 50})
  store, _ = build(tmp_path / "m", tmp_path / "top")
  loose = paint(
    tmp_path / "loose",
    # One of the name of another one, and one of its content.
    {"new.jpg": 60, name: 61, "copy.jpg": 50, "again.jpg": 51},
  )
  add(store, loose / "again.jpg", class_name="a")
  paint(tmp_path / "top", {"a/2.jpg": 62})  # Changed.
  os.rename(tmp_path / "top/a/3.jpg", loose / "moved.jpg")
  parsed = []
  whole = state.State.metadata

  def metadata(self, slots):
    parsed.extend(slots)
    return whole(self, slots)

  monkeypatch.setattr(state.State, "metadata", metadata)
  statuses = []
  for path in (
    loose / "new.jpg", loose / name, loose / "copy.jpg", loose / "again.jpg",
    tmp_path / "top/a/2.jpg", loose / "moved.jpg",
  ):  # fmt: skip
    told = []
    for most in (8, 0):
      monkeypatch.setattr(plan, "_FEW", most)
      parsed.clear()
      told.append(add(store, path, class_name="a", dry_run=True).to_dict())
      told[-1].pop("origins")
      assert len(parsed) <= (2 if most else len(store))
    assert told[0] == told[1]
    statuses.append(
      [k for k in ("moved", "copies", "changed") if told[0][k]]
      or [k for k in ("added", "already_there") if told[0][k]]
    )
  assert sum(statuses, []) == [
    "added", "added", "copies", "already_there", "changed", "moved",
  ]  # fmt: skip
