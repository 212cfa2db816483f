"""TFDS datasets, read from a fixture that make_tiny_shapes.py prepared."""

import os
import pickle
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

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
