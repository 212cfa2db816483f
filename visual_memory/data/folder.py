"""A folder (or .zip) of images, one directory for each class.

photos/{train,test}/CLASS/NAME.jpg        with splits
photos/CLASS/NAME.jpg                     without
photos/train/SUPERCLASS/CLASS/NAME.png    nested: kept as the taxonomy
photos/NAME.jpg                           no classes: unlabeled=True

source = folder("photos.zip", split="train")
source[0].image, source.class_names[source.labels[0]], source.ids[0]
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from PIL import Image

from visual_memory import types
from visual_memory.data import decoding, file_trees, image_source

SPLIT_NAMES = frozenset(
  "train training trn test testing tst val valid validation validate dev eval"
  " evaluation holdout".split()
)
"""Top-level directories of these names, and no others, are splits: in any
case, and with "set", "data", "images", "split" or a year behind."""

_SPLIT_PARTS = re.compile(r"[\s_.-]+|\d+$")
_SPLIT_ENDS = ("set", "data", "images", "split")

IMAGE_SUFFIXES = frozenset(
  ".apng .avif .bmp .dib .gif .heic .heif .hif .j2c .j2k .jfif .jp2 .jpe .jpeg"
  " .jpf .jpg .jpx .pbm .pgm .pjpeg .png .pnm .ppm .tga .tif .tiff"
  " .webp".split()
)
"""Files with another suffix are left out."""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class FolderSource(image_source.Described):
  """Images in files. Build one with `folder`.

  Attributes:
    tree: where the files are read.
    paths: one for each image, relative to the tree.
    labels: int32 [N].
    ids: [N], the paths without the common top folder.
    class_names: sorted; the union over all splits, so that they agree.
    taxonomy: for each class, the names of its directories from the top.
    orient: whether EXIF orientations are applied.
    fingerprint: hash of names, sizes, times of change and options.
  """

  tree: file_trees.FileTree
  paths: list[str]
  labels: np.ndarray
  ids: np.ndarray
  class_names: tuple[str, ...]
  taxonomy: tuple[tuple[str, ...], ...]
  orient: bool
  fingerprint: str

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The image at this position; UnreadableImage if it is damaged."""
    return types.Example(
      image=decoding.pixels_of(self.unpacked(row)),
      label=int(self.labels[row]),
      id=self.ids[row],
    )

  def unpacked(self, row: SupportsIndex) -> Image.Image:
    """Its pixels alone."""
    id = self.ids[row]
    try:
      data = self.tree.read(self.paths[row])
    except OSError as error:
      raise decoding.UnreadableImage(
        id, error.strerror or str(error)
      ) from error
    return decoding.decode_rgb(data, id=id, orient=self.orient)


def folder(
  path: str | os.PathLike,
  *,
  split: str | None = None,
  unlabeled: bool = False,
  orient: bool = True,
) -> FolderSource:
  """The images of a directory or .zip, in the order of their paths.

  A class is a directory that holds images; its name is its own, or its whole
  path where two classes share a name. One folder that holds everything else
  (as archives have) is skipped. Ids are posix paths below it, split included.

  Args:
    path: a directory or a .zip, which is read in place.
    split: the top-level directory to read; needed where there are several
      and all have the names of splits.
    unlabeled: ignore directories: every label is UNLABELED.
    orient: apply EXIF orientations (see decoding).

  Raises:
    FileNotFoundError: there is nothing at path.
    ValueError: no images, none of them readable, images beside class
      directories, or a split that is missing or must be chosen.
  """
  path = os.fspath(path)
  tree = file_trees.open_tree(path)
  top, ids = _list_images(tree, path=path, unlabeled=unlabeled)
  splits = _splits(ids, split, path=path)
  chosen = [id for id in ids if split is None or id.startswith(split + "/")]
  if not unlabeled:
    _check_in_classes(chosen, splits, path=path)
  taxonomy = () if unlabeled else _taxonomy(ids, splits)
  index_of = {directories: label for label, directories in enumerate(taxonomy)}
  labels = [
    types.UNLABELED if unlabeled else index_of[_directories(id, splits)]
    for id in chosen
  ]
  source = FolderSource(
    tree=tree,
    paths=[top + id for id in chosen],
    labels=np.asarray(labels, np.int32),
    ids=types.as_ids(chosen),
    class_names=_class_names(taxonomy),
    taxonomy=taxonomy,
    orient=orient,
    fingerprint=image_source.digest(
      "folder",
      [(id, *tree.stamp(top + id)) for id in chosen],
      taxonomy,
      orient,
    ),
  )
  _check_any_readable(source, path=path)
  return source


def is_split(name: str) -> bool:
  """Whether a directory's name says that it is a split: Training, test_set."""
  plain = _SPLIT_PARTS.sub("", name.lower())
  ends = (plain.removesuffix(end) for end in _SPLIT_ENDS)
  return plain in SPLIT_NAMES or any(end in SPLIT_NAMES for end in ends)


def _list_images(
  tree: file_trees.FileTree, *, path: str, unlabeled: bool
) -> tuple[str, list[str]]:
  """The common top folder (with its slash, or "") and the paths below it."""
  suffix = lambda name: os.path.splitext(name)[1].lower()
  paths = [name for name in tree.paths if suffix(name) in IMAGE_SUFFIXES]
  if not paths:
    raise ValueError(
      f"There are no images in {path!r} (no file ends in"
      f" {' '.join(sorted(IMAGE_SUFFIXES))})."
    )
  top, slash, _ = paths[0].partition("/")
  top += slash
  # A single folder of images is a class, unless there are no classes at all.
  skipped = (
    slash
    and not is_split(top[:-1])
    and all(name.startswith(top) for name in paths)
    and (unlabeled or all(name.count("/") > 1 for name in paths))
  )
  top = top if skipped else ""
  return top, [name[len(top) :] for name in paths]


def _splits(ids: Sequence[str], split: str | None, *, path: str) -> set[str]:
  """The top-level directories that are splits rather than classes.

  Raises:
    ValueError: the split asked for is not there, or one must be chosen.
  """
  tops = {id.partition("/")[0] for id in ids if "/" in id}
  named = set(filter(is_split, tops))
  present = image_source.known_names(sorted(named))
  if split is None:
    splits = named if named == tops else set()
    if len(splits) > 1:
      raise ValueError(
        f"{path!r} has the splits {present}: choose one with split=."
      )
    return splits
  if split in tops:
    return named | {split}
  if named:
    raise ValueError(f"{path!r} has no split {split!r}; it has {present}.")
  raise ValueError(
    f"{path!r} has no split {split!r}, nor any other (its directories:"
    f" {image_source.known_names(sorted(tops)) or 'none'}): leave split out"
    " to read everything."
  )


def _directories(id: str, splits: set[str]) -> tuple[str, ...]:
  """The directories of an image, outermost first, without its split."""
  directories = tuple(id.split("/")[:-1])
  return (
    directories[1:] if splits.intersection(directories[:1]) else directories
  )


def _check_in_classes(
  ids: Sequence[str], splits: set[str], *, path: str
) -> None:
  """Raises ValueError if an image lies in no class directory."""
  stray = next((id for id in ids if not _directories(id, splits)), None)
  if stray is not None:
    raise ValueError(
      f"The image {stray!r} in {path!r} lies in no class directory: move it"
      " into one, or pass unlabeled=True if there are no classes."
    )


def _taxonomy(
  ids: Sequence[str], splits: set[str]
) -> tuple[tuple[str, ...], ...]:
  """The directories of every class, over all splits, sorted by class name."""
  if splits:
    ids = [id for id in ids if id.partition("/")[0] in splits]
  # A split without class directories (a competition's test set) adds none.
  classes = sorted({_directories(id, splits) for id in ids} - {()})
  names = dict(zip(classes, _class_names(classes), strict=True))
  return tuple(sorted(classes, key=names.__getitem__))


def _class_names(taxonomy: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
  """The innermost directory of each class; the whole path where not unique."""
  count = Counter(directories[-1] for directories in taxonomy)
  return tuple(
    directories[-1] if count[directories[-1]] == 1 else "/".join(directories)
    for directories in taxonomy
  )


def _check_any_readable(source: FolderSource, *, path: str) -> None:
  """Raises ValueError if not one image can be decoded."""
  first = None
  for row in range(len(source)):
    try:
      source[row]
      return
    except decoding.UnreadableImage as error:
      first = first or error
  raise ValueError(
    f"None of the {len(source)} images in {path!r} can be read. {first}"
  )
