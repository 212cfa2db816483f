"""Images that a file of splits lists: CoOp's JSON, and FGVC-Aircraft's lists.

  source = split_file("dtd/images", list_file="split_DTD.json", split="test")
  source = aircraft("fgvc-aircraft-2013b/data", split="train")

CoOp's files hold {"train": [[path, label, class name], ...], "val": ...,
"test": ...}, with paths below the folder of images. These splits are what
few-shot results on the eleven usual data sets refer to.

Reference: Zhou et al., "Learning to Prompt for Vision-Language Models" (IJCV
2022), DATASETS.md; Maji et al., "Fine-Grained Visual Classification of
Aircraft" (2013).
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from visual_memory import files, types
from visual_memory.data import file_trees, image_source
from visual_memory.data.contents import Content
from visual_memory.data.folder import FolderSource


def split_file(
  path: str | os.PathLike,
  *,
  list_file: str | os.PathLike,
  split: str,
  orient: bool = True,
) -> FolderSource:
  """The images of one split, in the order of the file; ids are their paths.

  An image that the folder lacks is one that cannot be read: it is skipped and
  reported when it is embedded.

  Args:
    path: the folder (or .zip) that the paths are relative to.
    list_file: the JSON file.
    split: "train", "val" or "test".
    orient: apply EXIF orientations.

  Raises:
    FileNotFoundError: there is no such folder or file.
    ValueError: another layout, no such split, a label with two names, or none
      of the images in the folder.
  """
  rows_of = _read(list_file)
  if split not in rows_of:
    raise ValueError(
      f"{os.fspath(list_file)!r} has no split {split!r}; it has"
      f" {image_source.known_names(sorted(rows_of))}."
    )
  class_names = _class_names(rows_of, list_file)
  rows = rows_of[split]
  return listed_images(
    path,
    [row[0] for row in rows],
    [row[1] for row in rows],
    class_names=class_names,
    orient=orient,
  )


def aircraft(
  path: str | os.PathLike, *, split: str, orient: bool = True
) -> FolderSource:
  """The variants of FGVC-Aircraft, from its own lists.

  Args:
    path: the folder `data` with variants.txt, images_variant_SPLIT.txt and
      images/NUMBER.jpg.
    split: "train", "val", "trainval" or "test".
    orient: apply EXIF orientations.

  Raises:
    FileNotFoundError: a list is missing.
    ValueError: a variant that variants.txt lacks.
  """
  read = lambda name: _lines(os.path.join(os.fspath(path), name))
  class_names = read("variants.txt")
  label_of = {name: label for label, name in enumerate(class_names)}
  pairs = [line.split(" ", 1) for line in read(f"images_variant_{split}.txt")]
  for number, name in pairs:
    if name not in label_of:
      raise ValueError(
        f"The variant {name!r} of image {number} is not in variants.txt."
      )
  return listed_images(
    path,
    [f"images/{number}.jpg" for number, _ in pairs],
    [label_of[name] for _, name in pairs],
    class_names=class_names,
    orient=orient,
  )


def _lines(path: str) -> list[str]:
  with open(path, encoding="utf-8") as file:
    return [line.strip() for line in file if line.strip()]


def _read(path: str | os.PathLike) -> dict[str, list]:
  """The splits of a JSON file, after checking every row of them."""
  values = files.read_json(path, remedy="download it again")
  if not isinstance(values, dict) or not values:
    raise ValueError(f"{os.fspath(path)!r} is not an object of splits.")
  for split, rows in values.items():
    if not isinstance(rows, list):
      raise ValueError(f"{os.fspath(path)!r}, {split}: no list of rows.")
    for place, row in enumerate(rows):
      good = (
        isinstance(row, list)
        and len(row) == 3
        and isinstance(row[0], str)
        and isinstance(row[1], int)
        and isinstance(row[2], str)
      )
      if not good:
        raise ValueError(
          f"{os.fspath(path)!r}, {split}, row {place}: {row!r} is not [path,"
          " label, class name]."
        )
  return values


def _class_names(
  rows_of: dict[str, list], path: str | os.PathLike
) -> list[str]:
  """The name of each label, over all splits, so that they agree."""
  names: dict[int, str] = {}
  for rows in rows_of.values():
    for _, label, name in rows:
      if names.setdefault(label, name) != name:
        raise ValueError(
          f"{os.fspath(path)!r} calls label {label} {names[label]!r} and"
          f" {name!r}."
        )
  if sorted(names) != [*range(len(names))]:
    raise ValueError(
      f"{os.fspath(path)!r} has {len(names)} labels, which do not run from 0 to"
      f" {len(names) - 1}."
    )
  return [names[label] for label in range(len(names))]


@dataclasses.dataclass(frozen=True)
class ListedFiles:
  """The files of a tree; one that is only listed cannot be read."""

  tree: file_trees.FileTree
  there: frozenset[str]

  @property
  def paths(self) -> list[str]:
    """The tree's own."""
    return self.tree.paths

  @property
  def problems(self) -> list[tuple[str, str]]:
    """The tree's own."""
    return self.tree.problems

  def read(self, path: str) -> bytes:
    """The content of one file."""
    if path not in self.there:
      raise OSError("it is listed, but not in the folder")
    return self.tree.read(path)

  def stamp(self, path: str) -> tuple[int, ...]:
    """The tree's stamp; (-1, -1) for a file that is not there."""
    return self.tree.stamp(path) if path in self.there else (-1, -1)

  def content(self, path: str) -> Content:
    """See `contents`."""
    if path not in self.there:
      raise OSError("it is listed, but not in the folder")
    return self.tree.content(path)


def listed_images(
  path: str | os.PathLike,
  paths: Sequence[str],
  labels: Sequence[int] | np.ndarray,
  *,
  class_names: Sequence[str],
  orient: bool,
) -> FolderSource:
  """The source of some files of a folder (or .zip), in their order.

  Raises:
    FileNotFoundError: there is nothing at path.
    ValueError: none of the files is there, a path that is listed twice, or
      labels outside the class names.
  """
  labels = np.asarray(labels).tolist()
  tree = file_trees.open_tree(path)
  there = frozenset(tree.paths)
  if not there.intersection(paths):
    raise ValueError(
      f"None of the {len(paths)} listed images is in {os.fspath(path)!r}"
      f" ({paths[0]!r} is the first): give the folder that the paths of the"
      " list are relative to."
    )
  ids = types.as_ids(paths)
  types.check_unique(ids)
  files = ListedFiles(tree, there)
  stamps = [files.stamp(name) for name in paths]
  return FolderSource(
    tree=files,
    paths=[*paths],
    labels=image_source.check_labels(
      np.asarray(labels), num_rows=len(paths), num_classes=len(class_names)
    ),
    ids=ids,
    class_names=tuple(class_names),
    taxonomy=tuple((name,) for name in class_names),
    orient=orient,
    fingerprint=image_source.digest(
      "split_file", [*zip(paths, labels, stamps, strict=True)], orient
    ),
  )
