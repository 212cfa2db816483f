"""Pictures with a mark on them: a bias that is planted, to be found again.

marked = mark(source, rows=mask)        # a magenta square on those pictures
"""

import dataclasses
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, UInt8

from visual_memory.data import image_source
from visual_memory.data.image_source import ImageSource
from visual_memory.types import Example

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
