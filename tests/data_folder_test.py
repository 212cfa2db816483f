"""Folders and archives: layouts, ids, classes, and what can be wrong."""

import os
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from visual_memory import types
from visual_memory.data import file_trees
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


def test_an_archive_of_another_method_is_read_or_named(with_splits, tmp_path):
  path = zipped(with_splits, tmp_path / "x.zip", method=zipfile.ZIP_BZIP2)
  folder = open_folder(with_splits, split="train")
  archive = open_folder(path, split="train")
  for row in range(len(folder)):
    np.testing.assert_array_equal(archive[row].image, folder[row].image)
  path = zipped(with_splits, tmp_path / "y.zip", method=zipfile.ZIP_LZMA)
  tree = file_trees.open_tree(path)
  assert not tree.paths and "method 14" in tree.problems[0][1]


def zip_of(path, entries, *, system=3, flags=0):
  """An archive with these raw names (bytes), as other programs write them."""
  with zipfile.ZipFile(path, "w") as archive:
    for number, (name, data) in enumerate(entries.items()):
      entry = zipfile.ZipInfo(chr(65 + number) * len(name))
      entry.create_system, entry.flag_bits = system, flags
      archive.writestr(entry, data)
  whole = path.read_bytes()
  for number, name in enumerate(entries):
    whole = whole.replace((chr(65 + number) * len(name)).encode(), name)
  path.write_bytes(whole)
  return path


@pytest.mark.parametrize(
  "raw, options, name",
  [
    ("Käfer/über.png".encode(), {}, "Käfer/über.png"),  # No flag: Info-ZIP.
    (b"K\x84fer/long-name-1.png", {}, "Käfer/long-name-1.png"),  # cp437
    ("猫/long-name-01.png".encode("cp932"), {"zip_encoding": "cp932"},
     "猫/long-name-01.png"),
    (b"cat\\long-name-01.png", {}, "cat/long-name-01.png"),  # Windows.
    (b"./cat/long-name-01.png", {}, "cat/long-name-01.png"),
  ],
)  # fmt: skip
def test_names_in_archives_are_what_was_meant(tmp_path, raw, options, name):
  tree = file_trees.open_tree(
    zip_of(tmp_path / "a.zip", {raw: b"x"}), **options
  )
  assert tree.paths == [name] and tree.read(name) == b"x"


def test_an_archive_is_read_but_for_the_entries_that_cannot_be(tmp_path):
  path = tmp_path / "a.zip"
  zip_of(path, {b"cat/long-name-1.png": b"x", b"readme-encrypted.txt": b"y"})
  data = bytearray(path.read_bytes())
  data[data.rindex(b"PK\x01\x02") + 8] |= 1  # The last entry's flags.
  path.write_bytes(data)
  tree = file_trees.open_tree(path)
  assert tree.paths == ["cat/long-name-1.png"]
  assert tree.problems[0][0] == "readme-encrypted.txt"
  assert "encrypted" in tree.problems[0][1]


def test_a_part_that_cannot_be_read_costs_the_others_nothing(tmp_path):
  write(tmp_path, "cat/0.png", "dog/0.png")
  (tmp_path / "cat/self").symlink_to(tmp_path / "cat/self")
  (tmp_path / "cat/gone").symlink_to(tmp_path / "nowhere")
  (tmp_path / "cat/loop").symlink_to(tmp_path)
  raw = os.fsencode(tmp_path / "dog") + b"/caf\xe9.png"
  with open(raw, "wb") as file:
    file.write((tmp_path / "dog/0.png").read_bytes())
  tree = file_trees.open_tree(tmp_path)
  assert tree.paths == ["cat/0.png", "dog/0.png", "dog/caf\\xe9.png"]
  assert tree.read("dog/caf\\xe9.png") == tree.read("dog/0.png")
  assert [path for path, _ in tree.problems] == ["cat/gone", "cat/self"]
  assert list(open_folder(tmp_path).ids) == tree.paths


@pytest.mark.parametrize(
  "names", ["Training Validation", "Train TEST", "training_set test-set",
            "train2017 val2017", "trainset valid"]
)  # fmt: skip
def test_splits_are_found_as_people_spell_them(tmp_path, names):
  first, second = names.split()
  write(tmp_path, f"{first}/cat/0.png", f"{second}/cat/0.png")
  with pytest.raises(ValueError, match="choose one"):
    open_folder(tmp_path)
  assert open_folder(tmp_path, split=first).class_names == ("cat",)


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
