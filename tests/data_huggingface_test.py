"""Sources over Hugging Face's data sets, without any network."""

import numpy as np
import pytest
from collection_cases import picture_bytes

datasets = pytest.importorskip("datasets")

from visual_memory.data.decoding import UnreadableImage, decode_image
from visual_memory.data.image_source import ImageSource
from visual_memory.data.sources import open_source


def made(names, *, kind=None):
  """A data set of pictures, with their labels."""
  return datasets.Dataset.from_dict(
    {
      "picture": [{"bytes": picture_bytes(i)} for i in range(len(names))],
      "kind": names,
    },
    features=datasets.Features({
      "picture": datasets.Image(),
      "kind": kind or datasets.Value("string"),
    }),
  )  # fmt: skip


def test_pictures_labels_and_ids_are_those_of_the_data_set(tmp_path):
  kind = datasets.ClassLabel(names=["dog", "cat"])
  whole = datasets.DatasetDict(
    train=made([1, 0, 1], kind=kind), test=made([0], kind=kind)
  )
  whole.save_to_disk(tmp_path / "set")
  source = open_source("huggingface", path=tmp_path / "set", split="train")
  assert isinstance(source, ImageSource)
  assert source.class_names == ("dog", "cat")
  assert list(source.labels) == [1, 0, 1]
  assert list(source.ids) == ["train/0", "train/1", "train/2"]
  for row in range(3):
    expected = decode_image(picture_bytes(row), id="x")
    np.testing.assert_array_equal(source[row].image, expected)
  assert source[-1].id == "train/2"
  other = open_source("huggingface", path=tmp_path / "set", split="test")
  assert source.fingerprint != other.fingerprint
  with pytest.raises(ValueError, match="choose one with split="):
    open_source("huggingface", path=tmp_path / "set")
  with pytest.raises(ValueError, match="no split 'val'"):
    open_source("huggingface", path=tmp_path / "set", split="val")


def test_text_labels_and_none(tmp_path):
  source = open_source(
    "huggingface", dataset=made(["b", None, "a"]), label="kind"
  )
  assert source.class_names == ("a", "b")
  assert list(source.labels) == [1, -1, 0]
  assert list(open_source("huggingface", dataset=made(["b"])).labels) == [-1]
  with pytest.raises(ValueError, match="no column 'sort'"):
    open_source("huggingface", dataset=made(["b"]), label="sort")
  with pytest.raises(ValueError, match="one of them"):
    open_source("huggingface")
  with pytest.raises(FileNotFoundError, match="nowhere"):
    open_source("huggingface", path=tmp_path / "nowhere")


def test_a_damaged_picture_is_named():
  broken = datasets.Dataset.from_dict(
    {"image": [{"bytes": b"no picture"}]},
    features=datasets.Features({"image": datasets.Image()}),
  )
  with pytest.raises(UnreadableImage, match="it is text"):
    open_source("huggingface", dataset=broken)[0]
