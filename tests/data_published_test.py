"""TFDS, Flowers102, CUB-200, Food101 and MedMNIST as they are laid out."""

import io
import os
import pickle
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy import io as scipy_io

from visual_memory.data import tfds_source
from visual_memory.data.image_source import ImageSource
from visual_memory.data.sources import open_source

FIXTURES = os.path.join(os.path.dirname(__file__), "fixtures")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  with zipfile.ZipFile(os.path.join(FIXTURES, "tiny_shapes.zip")) as archive:
    archive.extractall(folder)
  return str(folder)


def open_tiny(data_dir, **options):
  options = {"split": "train"} | options
  return open_source(
    "tfds", dataset="tiny_shapes", data_dir=data_dir, **options
  )


def expected_picture(id):
  split, row = id.removesuffix(".png").split("_")
  seed = int(row) + (100 if split == "test" else 0)
  shape = (4 + int(row), 5, 3)
  return np.random.default_rng(seed).integers(0, 256, shape)


@pytest.mark.parametrize("split, count", [("train", 6), ("test", 3)])
def test_examples_labels_and_ids_are_those_prepared(data_dir, split, count):
  source = open_tiny(data_dir, split=split)
  assert isinstance(source, ImageSource)
  assert len(source) == count
  assert source.class_names == ("circle", "square", "triangle")
  assert sorted(source.ids) == [f"{split}_{row}.png" for row in range(count)]
  assert source.labels.dtype == np.int32
  for row, id in enumerate(source.ids):
    example = source[row]
    assert example.id == id
    assert example.label == source.labels[row] == int(id[-5]) % 3
    np.testing.assert_array_equal(example.image, expected_picture(id))


def test_slices_pickling_and_fingerprints(data_dir):
  source = open_tiny(data_dir)
  part = open_tiny(data_dir, split="train[2:4]")
  assert list(part.ids) == list(source.ids[2:4])
  assert part.fingerprint != source.fingerprint
  copy = pickle.loads(pickle.dumps(source))
  assert copy.fingerprint == source.fingerprint
  np.testing.assert_array_equal(copy[3].image, source[3].image)
  assert source[-1].id == source.ids[-1]
  with pytest.raises(IndexError):
    source[6]


def test_ids_without_an_identifying_feature(data_dir, monkeypatch):
  monkeypatch.setattr(tfds_source, "ID_FEATURES", ())
  source = open_tiny(data_dir, split="test")
  assert list(source.ids) == [f"tiny_shapes/1.0.0/test/{i}" for i in range(3)]


def test_a_dataset_whose_code_tfds_has(data_dir, tmp_path):
  """As ImageNet is: the builder comes from the package, not from disk."""
  old = os.path.join(data_dir, "tiny_shapes", "1.0.0")
  new = tmp_path / "mnist" / "3.0.1"
  shutil.copytree(old, new)
  for name in os.listdir(new):
    os.rename(new / name, new / name.replace("tiny_shapes", "mnist"))
  info = new / "dataset_info.json"
  text = info.read_text().replace("tiny_shapes", "mnist")
  info.write_text(text.replace('"1.0.0"', '"3.0.1"'))
  source = open_source(
    "tfds", dataset="mnist", split="test", data_dir=str(tmp_path)
  )
  assert source.ids[0] == "mnist/3.0.1/test/0"  # MNIST has no file names
  assert sorted(source.labels) == [0, 1, 2]
  assert source[0].image.shape[1:] == (5, 3)


def test_errors_say_what_to_do(data_dir):
  with pytest.raises(ValueError, match="Unknown split 'val'.*train.*test"):
    open_tiny(data_dir, split="val")
  with pytest.raises(ValueError, match="'no_such_set'.*tfds build"):
    open_source("tfds", dataset="no_such_set", split="train", data_dir=data_dir)
  with pytest.raises(ValueError, match="no class label 'kind'.*'label'"):
    open_tiny(data_dir, label_feature="kind")
  with pytest.raises(ValueError, match="no feature 'name'.*'file_name'"):
    open_tiny(data_dir, id_feature="name")


def test_reading_does_not_import_tensorflow(data_dir):
  code = f"""
import sys
from visual_memory.data.sources import open_source
source = open_source("tfds", dataset="tiny_shapes", split="train",
                     data_dir={data_dir!r})
assert source[0].image.shape[2] == 3 and len(source.ids) == 6
bad = [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
assert not bad, bad
"""
  subprocess.run([sys.executable, "-c", code], check=True, cwd=os.getcwd())


def picture(path, shade):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.full((3, 4, 3), shade, np.uint8)).save(path, quality=95)


def shades(source):
  return [
    int(source[row].image.mean().round()) // 10 for row in range(len(source))
  ]


@pytest.fixture
def flowers(tmp_path):
  for number in range(1, 7):
    picture(tmp_path / f"flowers/jpg/image_{number:05}.jpg", 10 * number)
  folder = tmp_path / "flowers"
  scipy_io.savemat(
    folder / "imagelabels.mat", {"labels": np.array([[3, 1, 1, 2, 2, 3]])}
  )
  splits = {"trnid": [[1, 2]], "valid": [[4]], "tstid": [[3, 5, 6]]}
  scipy_io.savemat(
    folder / "setid.mat", {name: np.array(s) for name, s in splits.items()}
  )
  return tmp_path


@pytest.fixture
def birds(tmp_path):
  folder = tmp_path / "CUB_200_2011"
  names = ["001.Auk/a.jpg", "002.Jay/b.jpg", "001.Auk/c.jpg"]
  for number, name in enumerate(names):
    picture(folder / "images" / name, 10 * (number + 1))
  write = {
    "images.txt": [f"{n + 1} {name}" for n, name in enumerate(names)],
    "classes.txt": ["1 001.Auk", "2 002.Jay"],
    "image_class_labels.txt": ["1 1", "2 2", "3 1"],
    "train_test_split.txt": ["1 0", "2 1", "3 0"],
  }
  for file, lines in write.items():
    (folder / file).write_text("\n".join(lines) + "\n")
  return tmp_path


@pytest.fixture
def food(tmp_path):
  folder = tmp_path / "food-101"
  (folder / "meta").mkdir(parents=True)
  (folder / "meta/classes.txt").write_text("apple_pie\nwaffles\n")
  (folder / "meta/train.txt").write_text("apple_pie/12\n")
  (folder / "meta/test.txt").write_text("waffles/7\napple_pie/3\n")
  for shade, name in enumerate(("apple_pie/12", "waffles/7", "apple_pie/3")):
    picture(folder / f"images/{name}.jpg", 10 * (shade + 1))
  return tmp_path


def test_flowers(flowers):
  test = open_source("flowers102", path=flowers, split="test")
  assert test.labels.tolist() == [0, 1, 2] and shades(test) == [3, 5, 6]
  assert test.class_names == ("flower 1", "flower 2", "flower 3")
  train = open_source("flowers102", path=flowers, split="train")
  assert train.labels.tolist() == [2, 0]
  assert len(open_source("flowers102", path=flowers, split="val")) == 1


def test_birds(birds):
  test = open_source("cub200", path=birds, split="test")
  assert test.labels.tolist() == [0, 0] and shades(test) == [1, 3]
  assert test.class_names == ("001.Auk", "002.Jay")
  train = open_source("cub200", path=birds, split="train")
  assert train.labels.tolist() == [1]


def test_food(food):
  test = open_source("food101", path=food, split="test")
  assert test.labels.tolist() == [1, 0] and shades(test) == [2, 3]


def test_medmnist(tmp_path):
  """Gray pictures and labels in a column, as published."""
  path = tmp_path / "breastmnist.npz"
  images = np.arange(2 * 28 * 28).reshape(2, 28, 28).astype(np.uint8)
  np.savez(
    path,
    **{f"{split}_images": images for split in ("train", "val", "test")},
    **{f"{split}_labels": [[1], [0]] for split in ("train", "val", "test")},
  )
  source = open_source("npz", path=path, split="test")
  assert source.labels.tolist() == [1, 0]
  assert source[1].image.shape == (28, 28, 3)
  cut = tmp_path / "cut.npz"
  cut.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(ValueError, match="cut.npz' is not a .npz file"):
    open_source("npz", path=cut, split="test")
  with pytest.raises(ValueError, match="validation"):
    open_source("npz", path=path, split="validation")


@pytest.mark.parametrize("name", ["flowers102", "cub200", "food101"])
def test_a_wrong_split_or_folder_is_named(tmp_path, name):
  with pytest.raises(ValueError, match="No split 'trian': there are train"):
    open_source(name, path=tmp_path, split="trian")
  with pytest.raises(ValueError, match="There is no '.*(mat|txt)' in"):
    open_source(name, path=tmp_path, split="test")


def test_lists_that_do_not_agree(flowers, birds, food):
  folder = flowers / "flowers"
  scipy_io.savemat(folder / "imagelabels.mat", {"labels": [[1, 2]]})
  with pytest.raises(ValueError, match="names image 6, but .* has 2 labels"):
    open_source("flowers102", path=flowers, split="test")
  (folder / "setid.mat").write_bytes(io.BytesIO(b"no matlab").read())
  with pytest.raises(ValueError, match="'setid.mat' has no 'tstid'"):
    open_source("flowers102", path=flowers, split="test")
  (birds / "CUB_200_2011/train_test_split.txt").write_text("1 0\n")
  with pytest.raises(ValueError, match="do not list the same images"):
    open_source("cub200", path=birds, split="test")
  (food / "food-101/meta/test.txt").write_text("pizza/1\n")
  with pytest.raises(ValueError, match="'pizza/1', whose class is not in"):
    open_source("food101", path=food, split="test")
