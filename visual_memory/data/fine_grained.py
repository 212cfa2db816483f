"""Flowers102, CUB-200 and Food101 in the layouts of their authors.

  source = open_source("flowers102", path="flowers", split="test")

flowers102  jpg/image_00001.jpg, imagelabels.mat, setid.mat
cub200      images.txt, image_class_labels.txt, train_test_split.txt,
            classes.txt, images/CLASS/NAME.jpg
food101     meta/classes.txt, meta/{split}.txt, images/CLASS/NUMBER.jpg
Read in place from a directory or a .zip, which may hold one folder with all.
"""

import io
import os

import numpy as np

from visual_memory.data import file_trees
from visual_memory.data.folder import FolderSource
from visual_memory.data.split_files import listed_images

_FLOWER_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}


def flowers102(path: str | os.PathLike, *, split: str) -> FolderSource:
  """Oxford Flowers (Nilsback and Zisserman 2008); classes by their numbers.

  Split: "train" (1,020), "val" (1,020; what the procedural-data paper scores)
  or "test" (6,149).

  Raises:
    ValueError: no such split, a missing or damaged list.
  """
  _check_split(split, _FLOWER_SPLITS)
  tree = _Tree(path)
  labels = tree.matlab("imagelabels.mat", "labels")
  numbers = tree.matlab("setid.mat", _FLOWER_SPLITS[split])
  if numbers.min() < 1 or numbers.max() > len(labels):
    raise ValueError(
      f"setid.mat names image {numbers.max()}, but imagelabels.mat has"
      f" {len(labels)} labels."
    )
  return tree.source(
    [f"jpg/image_{number:05}.jpg" for number in numbers],
    labels[numbers - 1] - 1,
    [f"flower {number + 1}" for number in range(int(labels.max()))],
  )


def cub200(path: str | os.PathLike, *, split: str) -> FolderSource:
  """Caltech-UCSD Birds 200-2011 (Wah et al. 2011), whole images.

  Split: "train" (5,994) or "test" (5,794), by train_test_split.txt.

  Raises:
    ValueError: no such split, a missing list, or lists that do not agree.
  """
  _check_split(split, ("train", "test"))
  tree = _Tree(path)
  names, classes, is_train, labels = (
    dict(tree.pairs(file))
    for file in (
      "images.txt",
      "classes.txt",
      "train_test_split.txt",
      "image_class_labels.txt",
    )
  )
  if not names.keys() == labels.keys() == is_train.keys():
    raise ValueError(
      "images.txt, image_class_labels.txt and train_test_split.txt do not list"
      " the same images."
    )
  wanted = "1" if split == "train" else "0"
  chosen = [number for number in names if is_train[number] == wanted]
  return tree.source(
    [f"images/{names[number]}" for number in chosen],
    np.array([int(labels[number]) - 1 for number in chosen]),
    [classes[str(label + 1)] for label in range(len(classes))],
  )


def food101(path: str | os.PathLike, *, split: str) -> FolderSource:
  """Food-101 (Bossard et al. 2014): "train" (75,750) or "test" (25,250).

  Raises:
    ValueError: no such split, a missing list, or an unknown class in it.
  """
  _check_split(split, ("train", "test"))
  tree = _Tree(path)
  classes = tree.lines("meta/classes.txt")
  label_of = {name: label for label, name in enumerate(classes)}
  names = tree.lines(f"meta/{split}.txt")
  for name in names:
    if name.split("/")[0] not in label_of:
      raise ValueError(
        f"meta/{split}.txt names {name!r}, whose class is not in"
        " meta/classes.txt."
      )
  return tree.source(
    [f"images/{name}.jpg" for name in names],
    np.array([label_of[name.split("/")[0]] for name in names]),
    classes,
  )


class _Tree:
  """The lists of a data set, wherever its top folder is."""

  def __init__(self, path: str | os.PathLike):
    self._path = path
    self._tree = file_trees.open_tree(path)
    self._top = ""

  def read(self, name: str) -> bytes:
    """One list; its place tells where the top folder is."""
    found = [p for p in self._tree.paths if f"/{p}".endswith(f"/{name}")]
    if not found:
      raise ValueError(f"There is no {name!r} in {os.fspath(self._path)!r}.")
    shortest = min(found, key=len)
    self._top = shortest.removesuffix(name)
    return self._tree.read(shortest)

  def lines(self, name: str) -> list[str]:
    """The lines of a list that are not empty."""
    return [line for line in self.read(name).decode().splitlines() if line]

  def pairs(self, name: str) -> list[tuple[str, str]]:
    """First word and rest of every line."""
    result = []
    for line in self.lines(name):
      first, space, rest = line.partition(" ")
      if not space:
        raise ValueError(f"{name!r} has a line without two words: {line!r}.")
      result.append((first, rest.strip()))
    return result

  def matlab(self, name: str, variable: str) -> np.ndarray:
    """A vector of whole numbers in a MATLAB file."""
    from scipy import io as scipy_io

    try:
      values = scipy_io.loadmat(io.BytesIO(self.read(name)))[variable]
    except Exception as error:  # Its parser raises whatever it stumbles on.
      raise ValueError(f"{name!r} has no {variable!r} ({error}).") from error
    return values.ravel().astype(np.int64)

  def source(self, names, labels, class_names) -> FolderSource:
    """The listed images."""
    paths = [self._top + name for name in names]
    return listed_images(
      self._path, paths, labels, class_names=class_names, orient=False
    )


def _check_split(split: str, known) -> None:
  if split not in known:
    raise ValueError(f"No split {split!r}: there are {', '.join(known)}.")
