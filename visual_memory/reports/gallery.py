"""Explained queries: each with the neighbors that decided, and their say.

shown = choose_queries(labels, predictions, num_right=20, num_wrong=20)
items = build_gallery(
  near, weights, shown, labels=labels, predictions=predictions, ids=ids,
  class_names=names, query_image=lambda row: source[row].image,
  memory_image=lambda row_id: images[row_id],
)
"""

import base64
import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting import shares

_THUMBNAIL = 96
_TINY = 40
_MOST_VOTES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class GalleryNeighbor:
  """One neighbor of a query.

  Attributes:
    id: of the row.
    label: its class's name; None where unknown.
    similarity: cosine, in [-1, 1].
    weight: its say in the vote; None for a neighbor beyond the voting k.
    agrees: whether it has the query's true class; None where nobody knows.
    image: uint8 [H, W, 3], or None where there is no picture to show.
  """

  id: str
  label: str | None
  similarity: float
  weight: float | None
  agrees: bool | None
  image: UInt8[np.ndarray, "H W 3"] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GalleryItem:
  """One query, what was answered, and why.

  Attributes:
    id: of the query.
    label: the name of its true class; None where unknown.
    prediction: the name of the class it was given.
    right: whether they are the same; None where nobody knows.
    image: uint8 [H, W, 3], or None.
    votes: the classes with the largest say, (name, share of all the say in
      [0, 1]), largest first; empty if all weights are zero.
    neighbors: the nearest rows, best first.
  """

  id: str
  label: str | None
  prediction: str
  right: bool | None
  image: UInt8[np.ndarray, "H W 3"] | None
  votes: tuple[tuple[str, float], ...]
  neighbors: tuple[GalleryNeighbor, ...]


def choose_queries(
  labels: Int[Array, "Q"],
  predictions: Int[Array, "Q"],
  *,
  num_right: int,
  num_wrong: int,
) -> Int[np.ndarray, "shown"]:
  """Positions of queries to show, evenly spread over the right and the wrong.

  The wrong ones come first; unlabeled queries are left out. Fewer than asked
  for are returned where there are fewer.
  """
  labels, predictions = np.asarray(labels), np.asarray(predictions)
  known = labels != UNLABELED
  wrong = np.flatnonzero(known & (labels != predictions))
  right = np.flatnonzero(known & (labels == predictions))
  return np.concatenate([_spread(wrong, num_wrong), _spread(right, num_right)])


def build_gallery(
  near: Neighbors,
  weights: Float[Array, "Q weighed"],
  shown: Sequence[int] | Int[np.ndarray, "shown"],
  *,
  labels: Int[Array, "Q"],
  predictions: Int[Array, "Q"],
  ids: Sequence[str] | np.ndarray,
  class_names: Sequence[str],
  query_image: Callable[[int], np.ndarray | None],
  memory_image: Callable[[str], np.ndarray | None],
  num_neighbors: int = 5,
) -> tuple[GalleryItem, ...]:
  """The shown queries, explained.

  Args:
    near: the neighbors of all queries, [Q, k].
    weights: the say of the first neighbors at the chosen setting; as many
      columns as neighbors voted, at most k.
    shown: positions of the queries to show, in order.
    labels: true classes, UNLABELED where unknown, [Q].
    predictions: the classes given at the chosen setting, [Q].
    ids: the queries' ids, [Q].
    class_names: one name for each class.
    query_image: from a query's position to its uint8 [H, W, 3] or None.
    memory_image: from a row's id to its uint8 [H, W, 3] or None.
    num_neighbors: how many neighbors to show of each query.
  """
  weights, labels = np.asarray(weights), np.asarray(labels)
  near_labels = np.asarray(near.labels)
  similarities = np.asarray(near.similarities)
  weighed = weights.shape[1]

  def neighbor(query: int, place: int) -> GalleryNeighbor:
    row_id, label = str(near.ids[query, place]), near_labels[query, place]
    return GalleryNeighbor(
      id=row_id,
      label=_name(label, class_names),
      similarity=float(similarities[query, place]),
      weight=float(weights[query, place]) if place < weighed else None,
      agrees=bool(label == labels[query]),
      image=memory_image(row_id),
    )

  return tuple(
    GalleryItem(
      id=str(ids[query]),
      label=_name(labels[query], class_names),
      prediction=_name(predictions[query], class_names),
      right=bool(labels[query] == predictions[query]),
      image=query_image(query),
      votes=_votes(near_labels[query, :weighed], weights[query], class_names),
      neighbors=tuple(
        neighbor(query, place) for place in range(min(num_neighbors, near.k))
      ),
    )
    for query in map(int, shown)
  )


def data_uri(
  image: UInt8[np.ndarray, "H W 3"], *, side: int = _THUMBNAIL
) -> tuple[str, bool]:
  """An image as a small data URI, and whether it is tiny.

  Tiny images (40 pixels or less) are kept exactly, as PNG, to be magnified
  with hard edges; larger ones are shrunk to `side` pixels and kept as JPEG.
  """
  picture, buffer = Image.fromarray(image), io.BytesIO()
  tiny = max(picture.size) <= _TINY
  if tiny:
    picture.save(buffer, "PNG", optimize=True)
  else:
    picture.thumbnail((side, side), Image.Resampling.BICUBIC)
    picture.save(buffer, "JPEG", quality=82, optimize=True)
  kind = "png" if tiny else "jpeg"
  text = base64.b64encode(buffer.getvalue()).decode("ascii")
  return f"data:image/{kind};base64,{text}", tiny


def _spread(positions: np.ndarray, count: int) -> np.ndarray:
  """At most count of the positions, evenly spaced, in order."""
  if len(positions) <= count:
    return positions
  return positions[np.arange(count) * len(positions) // max(count, 1)]


def _name(label: int | np.integer, class_names: Sequence[str]) -> str | None:
  """The class's name; None for UNLABELED."""
  return None if label == UNLABELED else class_names[label]


def _votes(
  labels: np.ndarray, weights: np.ndarray, class_names: Sequence[str]
) -> tuple[tuple[str, float], ...]:
  """The three classes with the largest share of the weights."""
  said = shares.class_shares(labels, weights)
  return tuple(
    (class_names[label], share)
    for label, share in list(said.items())[:_MOST_VOTES]
    if share > 0
  )
