"""What an image shows beside its nearest neighbor: search by the residual.

  near = search(queries, memory, k=3)
  found = rows[near.indices[:, 0]]                # the nearest row's embedding
  left = residuals(queries, found, how="difference")
  search(left, memory, k=3)                       # the other thing in the image

Of an image of two objects, the nearest row often shows one; what remains of
the query once that row is taken out points to the other.

Reference: Geirhos et al., ICML 2025, appendix O, takes the difference between
query and neighbor. The projection is ours: it takes out the neighbor's whole
direction and nothing else, so that the neighbor scores zero instead of being
pushed away.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from visual_memory.data.preprocess import resized
from visual_memory.data.selection import id_hash
from visual_memory.types import UNLABELED, Array, Ids

_NOTHING_LEFT = 1e-6


def residuals(
  queries: Float[Array, "Q D"], found: Float[Array, "Q D"], *, how: str
) -> Float32[np.ndarray, "Q D"]:
  """What is left of each query, as unit rows (zero where nothing is left).

  Args:
    queries: unit rows.
    found: the embedding to take out of each, unit rows.
    how: "difference": q - m, as published; "projection": q - (q.m) m.

  Raises:
    ValueError: unknown how.
  """
  queries = np.asarray(queries, np.float64)
  found = np.asarray(found, np.float64)
  if how not in ("difference", "projection"):
    raise ValueError(f"Unknown how {how!r}: 'difference' or 'projection'.")
  share = np.ones((len(queries), 1))
  if how == "projection":
    share = np.einsum("qd,qd->q", queries, found)[:, None]
  left = queries - share * found
  lengths = np.linalg.norm(left, axis=1, keepdims=True)
  # Of a copy of the neighbor only rounding is left: it points nowhere.
  left = np.where(lengths > _NOTHING_LEFT, left, 0)
  return (left / np.maximum(lengths, _NOTHING_LEFT)).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """How often the two classes of a composed image were found; fractions.

  Attributes:
    first: the nearest row is of one of them.
    both: and what was searched next is of the other.
  """

  first: float
  both: float


def choose_pairs(
  ids: Ids, labels: Int[Array, "Q"], *, num_pairs: int, seed: int
) -> Int[np.ndarray, "pairs 2"]:
  """Positions of two queries of different known classes, for each pair.

  No query is in two pairs. There may be fewer pairs than asked for.
  """
  labels = np.asarray(labels)
  known = np.flatnonzero(labels != UNLABELED)
  order = np.argsort(id_hash(np.asarray(ids)[known], salt=f"pairs/{seed}"))
  left, right = np.array_split(known[order], 2)
  left = left[: len(right)]
  differ = labels[left] != labels[right]
  return np.stack([left[differ], right[differ]], axis=1)[:num_pairs]


def side_by_side(
  left: UInt8[np.ndarray, "H W 3"], right: UInt8[np.ndarray, "H2 W2 3"]
) -> UInt8[np.ndarray, "S S 3"]:
  """One square image of two, each squeezed to half of its width.

  S is the larger of the sides of both, made even.
  """
  side = max(*left.shape[:2], *right.shape[:2])
  side += side % 2
  halves = [resized(image, (side, side // 2)) for image in (left, right)]
  return np.concatenate(halves, axis=1)


def found_both(
  first: Int[Array, "pairs"],
  second: Int[Array, "pairs"],
  pairs: Int[Array, "pairs 2"],
) -> Found:
  """How often both classes of each pair are found.

  Args:
    first: class of the nearest row of each composed image.
    second: class of what was found next; UNLABELED for nothing.
    pairs: the two true classes of each.
  """
  pairs = np.asarray(pairs)
  hit = pairs == np.asarray(first)[:, None]
  # What is left to be found, once the first one is.
  other = np.where(hit[:, 0], pairs[:, 1], pairs[:, 0])
  both = hit.any(axis=1) & (np.asarray(second) == other)
  return Found(first=float(hit.any(axis=1).mean()), both=float(both.mean()))


def next_other(labels: Int[Array, "Q k"]) -> Int[np.ndarray, "Q"]:
  """The first class of each row that is not its first entry's; or UNLABELED."""
  labels = np.asarray(labels)
  other = labels != labels[:, :1]
  place = other.argmax(axis=1)[:, None]
  chosen = np.take_along_axis(labels, place, axis=1).squeeze(1)
  return np.where(other.any(axis=1), chosen, UNLABELED)
