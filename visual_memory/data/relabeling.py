"""Sources under other labels or names, or with a mark on them.

  source = numbered(folder("imagenetv2-..."), class_names=memory_classes)
  sets = real_labels("real.json", source.ids, num_classes=1000)
  marked = mark(source, rows=mask)   # a magenta square: a bias that is planted
  source = renamed(source, read_class_names("imagenet_1k"))    # "tench", ...
  require_words(source.class_names, what="A study with people")

ImageNet-A, -R and -Sketch have one folder for each synset ("n01440764"), and
need nothing of this. ImageNetV2's folders are called by the class's number, 0
to 999 in order of the synsets: read as names, "10" would come before "2". ReaL
gives each validation image a list of right labels, possibly empty.
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Int, UInt8

from visual_memory import files
from visual_memory.data import image_source
from visual_memory.data.image_source import ImageSource
from visual_memory.data.tfds_source import SCAN_ROWS, TfdsSource
from visual_memory.types import Example, Ids

_VALIDATION_NUMBER = re.compile(r"(?:^|[/_])val_(\d{8})(?:\.\w+)?$")


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Relabeled(image_source.SameImages):
  """The images of a source under other labels.

  Attributes:
    source: where the images are.
    labels: int32 [N].
    class_names: one for each class index.
    fingerprint: hash of the source's fingerprint and the labels.
  """

  source: ImageSource
  labels: Int[np.ndarray, "N"]
  class_names: tuple[str, ...]
  fingerprint: str

  def __getitem__(self, row: SupportsIndex) -> Example:
    """The image at this position, under its label here."""
    return dataclasses.replace(self.source[row], label=int(self.labels[row]))


def relabeled(
  source: ImageSource, labels: np.ndarray, *, class_names: Sequence[str]
) -> Relabeled:
  """A source under these labels.

  Raises:
    ValueError: not one integer label for each image, or one out of range.
  """
  labels = image_source.check_labels(
    np.asarray(labels), num_rows=len(source), num_classes=len(class_names)
  )
  return Relabeled(
    source=source,
    labels=labels,
    class_names=tuple(class_names),
    fingerprint=image_source.digest(
      source.fingerprint, labels.tolist(), list(class_names)
    ),
  )


def of_class(source: ImageSource, name: str) -> Relabeled:
  """A source whose images are all of one class."""
  labels = np.zeros(len(source), np.int32)
  return relabeled(source, labels, class_names=[name])


def numbered(source: ImageSource, *, class_names: Sequence[str]) -> Relabeled:
  """A source whose classes are called "0", "1", ..., by their real names.

  Args:
    source: class names are numbers, in any order.
    class_names: the class of each number: for ImageNet, sorted synsets.

  Raises:
    ValueError: a class that is no number, or one beyond the names.
  """
  numbers = []
  for name in source.class_names:
    if not name.isdigit() or int(name) >= len(class_names):
      raise ValueError(
        f"The class {name!r} is not a number from 0 to {len(class_names) - 1}:"
        " this source does not name its classes by number."
      )
    numbers.append(int(name))
  lookup = np.array([*numbers, -1])  # UNLABELED stays so.
  return relabeled(source, lookup[source.labels], class_names=class_names)


def real_labels(
  path: str | os.PathLike, ids: Ids, *, num_classes: int
) -> list[list[int]]:
  """The right labels of ImageNet's validation images, by ReaL.

  Args:
    path: real.json of the ReaL repository: a list with one list of labels for
      each of the 50,000 images, in the order of their numbers.
    ids: of the images, ending in ILSVRC2012_val_NNNNNNNN and a suffix, such as
      val/n01440764/ILSVRC2012_val_00000293.JPEG.
    num_classes: labels are from 0 to it, less one.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: no such list, an id without a number or beyond the list, or a
      label out of range; names it.
  """
  lists = files.read_json(path, remedy="download it again")
  if not isinstance(lists, list) or not all(isinstance(x, list) for x in lists):
    raise ValueError(f"{os.fspath(path)!r} is not a list of lists of labels.")
  found = []
  for image_id in ids:
    match = _VALIDATION_NUMBER.search(image_id)
    number = int(match.group(1)) if match else 0
    if not 1 <= number <= len(lists):
      raise ValueError(
        f"The image {image_id!r} is none of the {len(lists)} of ReaL: its name"
        " must end in ILSVRC2012_val_ and a number of eight digits."
      )
    found.append(lists[number - 1])
  _check_sets(found, ids, num_classes)
  return found


def tfds_label_sets(
  source: TfdsSource, *, feature: str = "real_label"
) -> list[list[int]]:
  """The right labels that a TFDS dataset lists, such as imagenet2012_real.

  Raises:
    ValueError: the dataset has no such feature.
  """
  found = []
  for first in range(0, len(source), SCAN_ROWS):
    rows = list(range(first, min(first + SCAN_ROWS, len(source))))
    for record in source.records.__getitems__(rows):
      if feature not in record:
        raise ValueError(
          f"{source.name} has no feature {feature!r}; it has"
          f" {image_source.known_names(sorted(record))}."
        )
      found.append([int(label) for label in record[feature]])
  return found


def _check_sets(sets, ids, num_classes) -> None:
  """Raises ValueError if a label is out of range."""
  for image_id, labels in zip(ids, sets, strict=True):
    for label in labels:
      if not (isinstance(label, int) and 0 <= label < num_classes):
        raise ValueError(
          f"The image {image_id!r} has label {label!r}; labels go from 0 to"
          f" {num_classes - 1}."
        )


COLOR = (255, 0, 255)
"""Of the mark: no natural picture is dyed like this."""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Marked(image_source.SameImages):
  """A source, some of whose pictures bear a mark. Build one with `mark`.

  Attributes:
    source: where the pictures are.
    rows: which bear it, bool [N].
    fingerprint: hash of the source's fingerprint and the rows.
  """

  source: ImageSource
  rows: Bool[np.ndarray, "N"]
  fingerprint: str

  @property
  def class_names(self) -> tuple[str, ...]:
    """The source's."""
    return self.source.class_names

  @property
  def labels(self) -> np.ndarray:
    """The source's, [N]."""
    return self.source.labels

  def __getitem__(self, row: SupportsIndex) -> Example:
    """The picture at this position, with the mark where it has one."""
    example = self.source[row]
    if not self.rows[row]:
      return example
    return dataclasses.replace(example, image=with_mark(example.image))


def mark(source: ImageSource, *, rows: Bool[np.ndarray, "N"]) -> Marked:
  """A source with a mark on these of its pictures.

  Raises:
    ValueError: not one truth value for each picture.
  """
  rows = np.asarray(rows)
  if rows.shape != (len(source),) or rows.dtype != bool:
    raise ValueError(
      f"rows of {rows.dtype} {rows.shape} cannot say which of {len(source)}"
      " pictures bear the mark: give a truth value for each."
    )
  return Marked(
    source=source,
    rows=rows,
    fingerprint=image_source.digest(
      source.fingerprint, "marked", np.flatnonzero(rows).tolist()
    ),
  )


def with_mark(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
  """A copy with a square of a third of the shorter side, low on the right."""
  side = max(1, min(image.shape[:2]) // 3)
  image = image.copy()
  image[-side:, -side:] = COLOR
  return image


_FOLDER = pathlib.Path(__file__).parent / "names"
SHIPPED = {"imagenet_1k": "imagenet_1k.tsv", "digits": "digits.tsv"}
"""Maps that come with the package: ImageNet's 1,000 classes, by WordNet's first
word for each synset (six that would repeat are told apart), and ten digits."""

_NO_WORD = re.compile(r"n\d{8}|[\d._-]*")


def read_class_names(
  names: str | os.PathLike | Mapping[str, str],
) -> dict[str, str]:
  """What classes are called, by the names that a source gives them.

  Args:
    names: a key of SHIPPED; a file, JSON ({name: words}) or text (a name, a
      tab and words on each line); or the mapping itself. A file's classes may
      also be named by their number in it, from "0".

  Raises:
    ValueError: neither a shipped map nor a file, or no such content.
  """
  if isinstance(names, Mapping):
    return dict(names)
  path = pathlib.Path(names)
  if str(names) in SHIPPED:
    path = _FOLDER / SHIPPED[str(names)]
  elif not path.is_file():
    raise ValueError(
      f"class_names={str(names)!r} is no file, and none of the maps that come"
      f" with the package: {', '.join(SHIPPED)}."
    )
  text = path.read_text(encoding="utf-8")
  try:
    found = (
      json.loads(text)
      if path.suffix == ".json"
      else dict(line.split("\t") for line in text.splitlines() if line)
    )
    if not all(isinstance(word, str) and word for word in found.values()):
      raise ValueError("a class without words")
  except (AttributeError, ValueError) as error:
    raise ValueError(
      f"{path} does not say what classes are called ({error}): it must be JSON,"
      ' {"name": "words"}, or lines of a name, a tab and words.'
    ) from error
  return {str(row): words for row, words in enumerate(found.values())} | found


def renamed(source: ImageSource, names: Mapping[str, str]) -> ImageSource:
  """The same images, whose classes are called otherwise.

  Raises:
    ValueError: a class that the names lack, or two classes of one name.
  """
  lacking = [name for name in source.class_names if name not in names]
  if lacking:
    raise ValueError(
      f"The class {lacking[0]!r} is not among the {len(names)} class_names"
      f" ({len(lacking)} of {len(source.class_names)} classes are not)."
    )
  called = tuple(names[name] for name in source.class_names)
  for row, name in enumerate(called):
    if called.index(name) < row:
      pair = source.class_names[called.index(name)], source.class_names[row]
      raise ValueError(
        f"The classes {pair[0]!r} and {pair[1]!r} are both called {name!r}:"
        " class_names must tell them apart."
      )
  fingerprint = image_source.digest(source.fingerprint, list(called))
  if any(field.name == "class_names" for field in dataclasses.fields(source)):
    return dataclasses.replace(
      source, class_names=called, fingerprint=fingerprint
    )
  return relabeled(source, source.labels, class_names=called)


def require_words(class_names: Sequence[str], *, what: str) -> None:
  """Refuses class names that say nothing to people and models.

  Args:
    class_names: that are to be spoken or shown.
    what: needs words, such as "A prompt".

  Raises:
    ValueError: a name that is a number or a synset's.
  """
  for name in class_names:
    if _NO_WORD.fullmatch(name):
      raise ValueError(
        f"{what} needs words, and a class is called {name!r}: say what the"
        " classes are called by class_names (a file, or"
        f" {' or '.join(SHIPPED)}) of the source."
      )
