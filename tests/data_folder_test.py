"""Folders and archives: layouts, ids, classes, and what can be wrong."""

import os
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from visual_memory import types
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.image_source import ImageSource
from visual_memory.data.sources import open_source


def write(root, *names):
  """Writes a PNG of its own shade for each name; returns the root."""
  for shade, name in enumerate(names):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((2, 3, 3), shade, np.uint8)
    Image.fromarray(pixels).save(path, "png")
  return root


def zipped(root, target, *, top="", method=zipfile.ZIP_STORED):
  with zipfile.ZipFile(target, "w", method) as archive:
    for directory, _, names in os.walk(root):
      for name in names:
        path = os.path.join(directory, name)
        archive.write(path, top + os.path.relpath(path, root))
  return target


def open_folder(path, **options):
  source = open_source("folder", path=path, **options)
  assert isinstance(source, ImageSource)
  assert source.labels.dtype == np.int32
  assert len(source) == len(source.labels) == len(source.ids)
  return source


SPLIT_NAMES = (
  "train/cat/0.png",
  "train/cat/1.PNG",
  "train/ant/0.png",
  "test/cat/0.png",
  "test/bee/0.png",
)


@pytest.fixture
def with_splits(tmp_path):
  return write(tmp_path / "pets", *SPLIT_NAMES)


def test_splits_share_class_indices_and_ids_keep_the_split(with_splits):
  train = open_folder(with_splits, split="train")
  test = open_folder(with_splits, split="test")
  assert train.class_names == test.class_names == ("ant", "bee", "cat")
  assert list(train.ids) == [
    "train/ant/0.png",
    "train/cat/0.png",
    "train/cat/1.PNG",
  ]
  assert list(train.labels) == [0, 2, 2]
  assert list(test.labels) == [1, 2]
  example = train[np.int64(1)]
  assert (example.id, example.label) == ("train/cat/0.png", 2)
  np.testing.assert_array_equal(example.image, np.zeros((2, 3, 3)))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("top", ["", "pets/"])
def test_an_archive_reads_as_its_folder(with_splits, tmp_path, method, top):
  folder = open_folder(with_splits, split="train")
  path = zipped(with_splits, tmp_path / "pets.zip", top=top, method=method)
  archive = open_folder(path, split="train")
  assert archive.class_names == folder.class_names
  assert archive.taxonomy == folder.taxonomy
  np.testing.assert_array_equal(archive.ids, folder.ids)
  np.testing.assert_array_equal(archive.labels, folder.labels)
  copy = pickle.loads(pickle.dumps(archive))
  for row in range(len(folder)):
    expected = folder[row].image
    np.testing.assert_array_equal(archive[row].image, expected)
    np.testing.assert_array_equal(copy[row].image, expected)


def test_a_common_top_folder_is_skipped_but_a_class_is_not(tmp_path):
  write(tmp_path / "a", "pets/cat/0.png", "pets/ant/0.png")
  assert list(open_folder(tmp_path / "a").ids) == ["ant/0.png", "cat/0.png"]
  write(tmp_path / "b", "cat/0.png", "cat/1.png")
  source = open_folder(tmp_path / "b")
  assert source.class_names == ("cat",)
  assert list(source.ids) == ["cat/0.png", "cat/1.png"]


def test_nested_directories_are_the_taxonomy(tmp_path):
  source = open_folder(
    write(
      tmp_path,
      "train/insects/ant/0.png",
      "train/pets/cat/0.png",
      "train/cars/jaguar/0.png",
      "train/pets/jaguar/0.png",
      "test/pets/ape/0.png",
    ),
    split="train",
  )
  assert source.class_names == (
    "ant",
    "ape",
    "cars/jaguar",
    "cat",
    "pets/jaguar",
  )
  assert source.taxonomy[0] == ("insects", "ant")
  assert source.taxonomy[4] == ("pets", "jaguar")
  assert list(source.labels) == [2, 0, 3, 4]


def test_unlabeled_images(tmp_path):
  write(tmp_path, "album/b.png", "album/2020/a.png")
  source = open_folder(tmp_path, unlabeled=True)
  assert list(source.ids) == ["2020/a.png", "b.png"]
  assert list(source.labels) == [types.UNLABELED] * 2
  assert source.class_names == ()


def test_a_split_without_classes_adds_none(tmp_path):
  write(tmp_path, "train/cat/0.png", "test/0.png")
  assert open_folder(tmp_path, split="train").class_names == ("cat",)
  assert len(open_folder(tmp_path, split="test", unlabeled=True)) == 1
  with pytest.raises(ValueError, match="'test/0.png'.*no class directory"):
    open_folder(tmp_path, split="test")


def test_directories_that_no_split_is_called(tmp_path):
  write(tmp_path, "train/cat/0.png", "2024/bee/0.png", "2025/ant/0.png")
  source = open_folder(tmp_path, split="2024")
  assert list(source.ids) == ["2024/bee/0.png"]
  assert source.class_names == ("bee", "cat")  # 2025 was not called a split


def test_hidden_files_links_and_other_files(tmp_path):
  write(tmp_path / "in", "cat/0.png", "cat/.1.png", ".trash/2.png")
  (tmp_path / "in" / "cat" / "notes.txt").write_text("a cat")
  write(tmp_path / "elsewhere", "0.png")
  (tmp_path / "in" / "bee").symlink_to(tmp_path / "elsewhere")
  (tmp_path / "in" / "cat" / "loop").symlink_to(tmp_path / "in")
  assert list(open_folder(tmp_path / "in").ids) == ["bee/0.png", "cat/0.png"]


def test_the_fingerprint_follows_the_content(with_splits):
  open_ = lambda **options: open_folder(with_splits, **options).fingerprint
  before = open_(split="train")
  assert before == open_(split="train")
  assert before != open_(split="test")
  assert before != open_(split="train", orient=False)
  write(with_splits, "test/cat/9.png")
  assert before == open_(split="train")
  os.utime(with_splits / "train/cat/0.png", (1, 1))
  assert before != open_(split="train")


def test_a_damaged_image_is_named_and_the_rest_is_read(with_splits, tmp_path):
  (with_splits / "train/cat/0.png").write_bytes(b"no image")
  source = open_folder(with_splits, split="train")
  with pytest.raises(UnreadableImage, match="'train/cat/0.png'"):
    source[1]
  assert source[2].id == "train/cat/1.PNG"
  (with_splits / "train/cat/1.PNG").unlink()
  with pytest.raises(UnreadableImage, match="No such file"):
    source[2]


def test_a_damaged_archive_entry_fails_its_checksum(with_splits, tmp_path):
  path = zipped(with_splits, tmp_path / "pets.zip")
  source = open_folder(path, split="train")
  damaged = bytearray(path.read_bytes())
  with zipfile.ZipFile(path) as archive:
    entry = archive.getinfo("train/cat/0.png")
  damaged[entry.header_offset + 30 + len(entry.filename) + 45] ^= 255
  path.write_bytes(damaged)
  with pytest.raises(UnreadableImage, match="fails the checksum"):
    source[1]
  assert source[0].id == "train/ant/0.png"


def test_threads_share_an_archive(tmp_path):
  names = [f"{'ab'[row % 2]}/{row:03d}.png" for row in range(200)]
  write(tmp_path / "in", *names)
  source = open_folder(zipped(tmp_path / "in", tmp_path / "in.zip"))
  with ThreadPoolExecutor(8) as pool:
    images = list(pool.map(lambda row: source[row].image, range(200)))
  for id, image in zip(source.ids, images, strict=True):
    assert (image == names.index(id)).all()


def test_errors_say_what_is_wrong(with_splits, tmp_path):
  with pytest.raises(ValueError, match="'test', 'train': choose one"):
    open_folder(with_splits)
  with pytest.raises(
    ValueError, match="no split 'val'; it has 'test', 'train'"
  ):
    open_folder(with_splits, split="val")
  with pytest.raises(FileNotFoundError, match="nowhere"):
    open_folder(tmp_path / "nowhere")
  write(tmp_path / "flat", "0.png")
  with pytest.raises(ValueError, match="unlabeled=True"):
    open_folder(tmp_path / "flat")
  write(tmp_path / "plain", "ant/0.png", "cat/0.png")
  with pytest.raises(ValueError, match="'ant', 'cat'.*leave split out"):
    open_folder(tmp_path / "plain", split="train")
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match="There are no images in"):
    open_folder(tmp_path / "empty")
  with pytest.raises(ValueError, match="neither a folder nor a readable .zip"):
    open_folder(tmp_path / "flat" / "0.png")
  with pytest.raises(ValueError, match="source 'floder'; there are: folder, "):
    open_source("floder", path=".")


def test_no_readable_image_is_an_error_at_once(tmp_path):
  for name in ("0.jpg", "1.jpg"):
    (tmp_path / "cat").mkdir(exist_ok=True)
    (tmp_path / "cat" / name).write_bytes(b"no image")
  with pytest.raises(ValueError, match="None of the 2 images.*'cat/0.jpg'"):
    open_folder(tmp_path)


def test_archives_that_cannot_be_read_in_place(with_splits, tmp_path):
  path = zipped(with_splits, tmp_path / "x.zip", method=zipfile.ZIP_BZIP2)
  with pytest.raises(ValueError, match="method 12.*unpack it"):
    open_folder(path, split="train")


def test_cifar10_in_place(data_file):
  source = open_folder(data_file("cifar10.zip"), split="test")
  assert len(source) == 10_000
  assert source.class_names[:2] == ("airplane", "automobile")
  assert (np.bincount(source.labels) == 1000).all()
  assert source.ids[0] == "test/airplane/0000.jpg"
  assert source[9_999].image.shape == (32, 32, 3)


def test_cifar100_keeps_its_superclasses(data_file):
  source = open_folder(data_file("cifar100_half.zip"), split="train")
  assert len(source) == 25_000
  assert len(source.class_names) == 100
  assert source.class_names == tuple(sorted(source.class_names))
  assert len({directories[0] for directories in source.taxonomy}) == 20
  assert source.taxonomy[source.class_names.index("rose")] == (
    "flowers",
    "rose",
  )
