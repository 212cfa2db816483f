"""Neighbors with their pictures, for a notebook.

near = vm.search(images, memory, k=5, encoder=encoder)
vm.show(near, source, queries=images)
"""

import dataclasses
from typing import Any

import numpy as np

from visual_memory import showing
from visual_memory.data.given_images import GivenImages
from visual_memory.data.image_source import ImageSource
from visual_memory.types import Neighbors

_QUERIES, _NEIGHBORS = 5, 8


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Shown:
  """A card with pictures; a notebook draws it. `show` makes one.

  Attributes:
    title: in a line.
    parts: of the card, as HTML.
  """

  title: str
  parts: tuple[str, ...]

  def __repr__(self) -> str:
    """What a terminal can say."""
    return f"Shown({self.title}: pictures, for a notebook)"

  def _repr_html_(self) -> str:
    """The card."""
    return showing.card(self.title, (), self.parts)


def show(near: Neighbors, source: ImageSource, *, queries: Any = None) -> Shown:
  """The pictures of the nearest rows of the first queries.

  Args:
    near: what was found.
    source: has the images of the memory's rows; rows that it lacks, or whose
      image cannot be read, are named without a picture.
    queries: the images that were asked with, in any form that
      `Encoder.encode` takes, one for each query; left out by default.

  Returns:
    What a notebook draws; `_repr_html_` of it is HTML that needs no other file.

  Raises:
    ValueError: not as many images as queries.
  """
  asked = None if queries is None else GivenImages(queries)
  if asked is not None and len(asked) != len(near):
    raise ValueError(f"{len(asked)} images for {len(near)} queries.")
  shown = near.take(range(min(len(near), _QUERIES))).first(_NEIGHBORS)
  row_of = {row_id: row for row, row_id in enumerate(source.ids)}
  parts = []
  for query in range(len(shown)):
    items = []
    if asked is not None:
      items.append((asked[query], f"query {query}", "asked"))
    for rank in range(shown.k):
      image = _image(source, row_of.get(shown.ids[query, rank]))
      similarity = shown.similarities[query, rank]
      items.append((image, _name(shown, query, rank), f"{similarity:.3f}"))
    parts.append(showing.pictures(items))
  left = len(near) - len(shown)
  if left:
    more = showing.counted(left, "more query", "more queries")
    parts.append(showing.note(f"and {more}"))
  return Shown(title=f"The nearest {shown.k}", parts=tuple(parts))


def _name(near: Neighbors, query: int, rank: int) -> str:
  """A neighbor's class, or its id where nobody told the class."""
  name = near.names[query, rank] if near.class_names else None
  return str(near.ids[query, rank] if name is None else name)


def _image(source: ImageSource, row: int | None) -> np.ndarray:
  """A row's image; a gray one where there is none."""
  if row is not None:
    try:
      return source[row].image
    except Exception:  # Unreadable by now: the others are worth showing.
      pass
  return np.full((8, 8, 3), 128, np.uint8)
