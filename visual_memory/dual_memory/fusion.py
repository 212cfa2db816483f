"""Fusion: the parts of a dual memory network, weighed and added.

  alpha, accuracy = choose_alpha(held_out_branches, held_out_labels)
  predictions = fuse(branches, alpha).argmax(axis=1)

Probabilities are added, base + a_d dynamic + a_s static. The published grid is
searched on the test labels (`as_published`); here it is searched on shots that
were held out, and the published number is reported beside.

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), section 3.4;
dmn_main.py of the released code.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int

from visual_memory.types import UNLABELED, Array
from visual_memory.voting import metrics

GRID = (
  0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0
)  # fmt: skip
"""The published weights, tried for both memories: 13 x 13 pairs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Branches:
  """Probabilities of every part of the network, for N queries; host arrays.

  Attributes:
    base: of the text classifier, or of the visual memory where there is no
      text; [N, C].
    dynamic: of the dynamic memory; None without.
    static: of the static memory; None without.
  """

  base: Float32[np.ndarray, "N C"]
  dynamic: Float32[np.ndarray, "N C"] | None
  static: Float32[np.ndarray, "N C"] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alpha:
  """What the memories count for, the base being 1."""

  dynamic: float
  static: float


FIXED = Alpha(dynamic=1.0, static=1.0)
"""Where nothing is there to choose by."""


def present(alpha: Alpha, branches: Branches) -> Alpha:
  """The weights, with 0 for a memory that is absent."""
  return Alpha(
    dynamic=0.0 if branches.dynamic is None else alpha.dynamic,
    static=0.0 if branches.static is None else alpha.static,
  )


def fuse(branches: Branches, alpha: Alpha) -> Float32[np.ndarray, "N C"]:
  """base + alpha.dynamic * dynamic + alpha.static * static."""
  scores = np.array(branches.base)
  if branches.dynamic is not None:
    scores += np.float32(alpha.dynamic) * branches.dynamic
  if branches.static is not None:
    scores += np.float32(alpha.static) * branches.static
  return scores


def choose_alpha(
  branches: Branches,
  labels: Int[np.ndarray, "N"],
  *,
  grid: Sequence[float] = GRID,
  as_published: bool = False,
) -> tuple[Alpha, float]:
  """The weights of most right answers, and the accuracy that they reach.

  A few shots leave many pairs equal. Of these the one nearest to weights of
  one wins, on a log scale. A memory that is absent gets 0.

  Args:
    branches: of queries that are not those to be reported, unless the result
      is called as published.
    labels: their true classes.
    grid: the weights to try for each memory.
    as_published: the first of equals wins: smaller dynamic, then smaller
      static.

  Raises:
    ValueError: no labelled query.
  """
  known = np.asarray(labels) != UNLABELED
  if not known.any():
    raise ValueError("No query has a label: nothing can choose the weights.")
  absent = np.zeros(1, np.float32)
  of = lambda part: absent if part is None else np.asarray(grid, np.float32)
  dynamic, static = np.meshgrid(
    of(branches.dynamic), of(branches.static), indexing="ij"
  )
  nothing = np.zeros((1, 1), np.float32)
  parts = [
    nothing if part is None else part[known]
    for part in (branches.base, branches.dynamic, branches.static)
  ]
  right = _count_right(
    *parts, np.asarray(labels)[known], dynamic.ravel(), static.ravel()
  )
  order = np.arange(right.size)
  if not as_published:
    order = np.argsort(_from_one(dynamic) + _from_one(static), kind="stable")
  best = int(order[np.argmax(np.asarray(right)[order])])
  alpha = Alpha(
    dynamic=float(dynamic.ravel()[best]), static=float(static.ravel()[best])
  )
  return alpha, int(right[best]) / int(known.sum())


def _from_one(alpha: np.ndarray) -> np.ndarray:
  """How far weights are from one, as factors; absent ones do not count."""
  return np.abs(np.log(np.where(alpha == 0, 1, alpha))).ravel()


@jax.jit
def _count_right(base, dynamic, static, labels, alpha_d, alpha_s):
  """Right answers of each pair of weights, one pair after the other."""

  def count(pair):
    scores = base + pair[0] * dynamic + pair[1] * static
    return jnp.sum(jnp.argmax(scores, axis=1) == labels)

  return jax.lax.map(count, (alpha_d, alpha_s))


def accuracy(scores: Array, labels: Int[np.ndarray, "N"]) -> float:
  """The fraction of labelled queries whose largest score is their class's."""
  return metrics.accuracy(np.argmax(scores, axis=1), labels)
