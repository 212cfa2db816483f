"""A picture is itself: moved, copied, replaced, or of another's checksum."""

import functools
import io
import os
import zipfile
import zlib

import numpy as np
import pytest
from collection_cases import (
  add,
  build,
  encoder,
  held,
  paint,
  pictures_of,
  vectors,
)
from PIL import Image

import visual_memory as vm
from visual_memory.collection import (
  meant_rows,
  provenance,
)
from visual_memory.collection.identity import Status
from visual_memory.collection.provenance import relocate
from visual_memory.data.decoding import UnreadableImage
from visual_memory.store.store import Store


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
