"""What a source of labelled images is.

A source is anything with the members of `ImageSource`: a folder, a TFDS
dataset, an array, a selection of rows of another source.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np

from visual_memory import showing, types


@runtime_checkable
class ImageSource(Protocol):
  """Random access to N labelled images; safe to read from many threads.

  Sources are picklable, hold no global state, and decode an image only when
  it is asked for. A folder's source also has `taxonomy`: for each class, the
  tuple of nested directory names that leads to it.

  Attributes:
    class_names: one name for each class index.
    labels: int32 [N], known without decoding pixels.
    ids: unique strings, [N] (a NumPy object array), likewise.
    fingerprint: short hash that changes when the content or an option does.
  """

  class_names: tuple[str, ...]
  labels: np.ndarray
  ids: np.ndarray
  fingerprint: str

  def __len__(self) -> int:
    """The number of images, N."""
    ...

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The image at this position.

    Raises:
      UnreadableImage: the bytes are not an image.
      IndexError: row is not in [-N, N).
    """
    ...


class Described:
  """What every source says of itself, by its own members."""

  def __len__(self) -> int:
    """The number of images."""
    return len(self.labels)

  def __repr__(self) -> str:
    """The kind, how many images, and the first classes."""
    return showing.line(type(self).__name__, *_facts(self))

  def _repr_html_(self) -> str:
    """The same as a card, with a picture of each of the first classes."""
    facts = _facts(self)
    return showing.card(type(self).__name__, facts, [_thumbnails(self)])


class Unlabeled(Described):
  """What sources of images share whose classes nobody knows or asks for."""

  def __init__(self, ids: types.Ids, *, fingerprint: str):
    """The ids of the images, [N]; nothing is read before it is asked for."""
    self.ids = types.as_ids(ids)
    self.labels = np.full(len(ids), types.UNLABELED, np.int32)
    self.class_names: tuple[str, ...] = ()
    self.fingerprint = fingerprint


class SameImages(Described):
  """As many images as another source has, under the same ids.

  Attributes:
    source: that source.
  """

  source: ImageSource

  @property
  def ids(self) -> np.ndarray:
    """The source's ids, [N]."""
    return self.source.ids

  def __len__(self) -> int:
    """The number of images."""
    return len(self.source)


def _facts(source: ImageSource) -> tuple[str, ...]:
  """What is worth knowing of a source."""
  names = source.class_names
  known = f": {showing.names(names)}" if names else ""
  return (
    showing.counted(len(source), "image"),
    showing.counted(len(names), "class", "classes") + known,
  )


def _thumbnails(source: ImageSource, *, limit: int = 12) -> str:
  """The first image of each class, then further ones, as HTML."""
  labels = np.asarray(source.labels)
  _, firsts = np.unique(labels, return_index=True)
  rows = dict.fromkeys([*firsts.tolist(), *range(min(limit, len(labels)))])
  items = []
  for row in list(rows)[:limit]:
    try:
      example = source[row]
    except Exception:  # A damaged image is not worth a page without the rest.
      continue
    known = example.label != types.UNLABELED and source.class_names
    name = source.class_names[example.label] if known else "(no class)"
    items.append((example.image, name, example.id))
  return showing.pictures(items)


def digest(*parts: Any) -> str:
  """A stable hash (16 hexadecimal digits) of JSON-serializable parts."""
  text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_labels(
  labels: np.ndarray, *, num_rows: int, num_classes: int
) -> np.ndarray:
  """Labels as int32 [num_rows], after checking their number and range.

  Raises:
    ValueError: not integers, not one for each row, or out of range.
  """
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      "labels must be one integer for each image, [N]; got"
      f" {labels.dtype} {labels.shape}."
    )
  if len(labels) != num_rows:
    raise ValueError(
      f"{num_rows} images but {len(labels)} labels: one label is needed for"
      " every image."
    )
  bad = (labels < types.UNLABELED) | (labels >= num_classes)
  if bad.any():
    row = int(np.argmax(bad))
    raise ValueError(
      f"Row {row} has label {labels[row]}, but there are {num_classes} class"
      f" names: labels go from 0 to {num_classes - 1} (or {types.UNLABELED}"
      " for unknown)."
    )
  return labels.astype(np.int32)


def known_names(names: Sequence[str], *, limit: int = 20) -> str:
  """Names as a list for an error message, cut after `limit` of them."""
  shown = ", ".join(repr(name) for name in names[:limit])
  more = len(names) - limit
  return f"{shown} and {more} more" if more > 0 else shown
