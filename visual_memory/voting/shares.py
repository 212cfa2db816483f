"""What share of the vote each class has, however many classes there are.

  share = shares(near, setting("rank"), k=10)
  share.values[q, i]     # the share of class share.labels[q, i] of query q

Only classes among the neighbors have a share: at most k of them per query.
Each stands at the place of its first neighbor, with zeros elsewhere.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Float32, Int, Int32, Shaped

from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting import counting, vote_input, weighting
from visual_memory.voting.weighting import Setting

_TILE = 1024
"""Queries per call."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
  """The shares of Q queries; host arrays.

  Attributes:
    labels: int32 classes of the neighbors, [Q, k].
    values: float32; a class's share in (0, 1] at its first neighbor, 0 at its
      others and where there is no label. A row sums to 1, or to 0 if nobody
      votes.
  """

  labels: Int32[np.ndarray, "Q k"]
  values: Float32[np.ndarray, "Q k"]

  def of(self, classes: Int[Array, "Q"]) -> Float32[np.ndarray, "Q"]:
    """The share of one class of each query; 0 where it has none."""
    return share_of(self.labels, self.values, classes)

  def leaders(self) -> Int32[np.ndarray, "Q"]:
    """The class with the largest share; of equals the one met first.

    (A vote gives a tie to the class that reached its sum first.) UNLABELED
    where nobody votes.
    """
    place = self.values.argmax(axis=1)[:, None]
    leader = np.take_along_axis(self.labels, place, axis=1)[:, 0]
    return np.where(self.values.any(axis=1), leader, UNLABELED)


def class_shares(
  labels: Int[np.ndarray, "k"], weights: Shaped[np.ndarray, "k"]
) -> dict[int, float]:
  """One query's shares by class, the largest first, then as they are met.

  Neighbors without a label have no vote; nor have negative weights, which
  dissimilar neighbors may have. Empty if nobody votes.
  """
  weights = np.where(labels == UNLABELED, 0, np.maximum(weights, 0))
  classes, first, at = np.unique(labels, return_index=True, return_inverse=True)
  say = np.bincount(at, weights=weights)
  order = np.lexsort((first, -say))
  total = say.sum()
  return {
    int(classes[i]): float(say[i] / total)
    for i in order
    if total > 0 and classes[i] != UNLABELED
  }


def share_of(
  labels: Int[np.ndarray, "Q k"],
  values: Float[np.ndarray, "Q k"],
  classes: Int[Array, "Q"],
) -> Float[np.ndarray, "Q"]:
  """Values that stand at a class's first neighbor; 0 where it has none."""
  at = labels == np.asarray(classes)[:, None]
  place = at.argmax(axis=1)
  queries = np.arange(len(at))
  return np.where(at[queries, place], values[queries, place], 0)


def shares(near: Neighbors, setting: Setting, *, k: int) -> Shares:
  """The shares among the first k neighbors.

  Raises:
    ValueError: k out of range, or similarities that are not finite.
  """
  vote_input.ks((k,), near.k)
  labels = np.ascontiguousarray(np.asarray(near.labels)[:, :k], np.int32)
  similarities = vote_input.finite(near.similarities, "similarities")[:, :k]
  weights = weighting.weights(similarities, setting).astype(np.float32)
  values = np.empty(labels.shape, np.float32)
  pending = []
  for start in range(0, len(labels), _TILE):
    rows = slice(start, min(start + _TILE, len(labels)))
    padding = ((0, start + _TILE - rows.stop), (0, 0))
    tile = _shares_tile(
      np.pad(labels[rows], padding), np.pad(weights[rows], padding)
    )
    pending.append((rows, tile))
  for rows, tile in pending:
    values[rows] = np.asarray(tile)[: rows.stop - rows.start]
  return Shares(labels=labels, values=values)


@jax.jit
def _shares_tile(
  labels: Int32[Array, "T k"], weights: Float32[Array, "T k"]
) -> Float32[Array, "T k"]:
  """The shares of one tile."""
  labels = labels.T
  weights = jnp.where(labels >= 0, weights.T, 0)

  def add(sums, neighbor):
    label, weight = neighbor
    return sums + jnp.where(labels == label[None], weight[None], 0), None

  sums, _ = lax.scan(add, jnp.zeros_like(weights), (labels, weights))
  first = (counting.previous_of_class(labels) == 0) & (labels >= 0)
  total = jnp.maximum(weights.sum(axis=0), jnp.finfo(jnp.float32).tiny)
  return jnp.where(first, sums / total[None], 0).T
