"""Telling what the memory knows from what it does not, by distance alone.

  scores = distance_scores(near, k=100)       # mean, median and k-th distance
  found = detect(inside["mean"], outside["mean"])
  found.auroc, found.aupr, found.fpr95

Out-of-distribution queries are the positives: a larger distance should mean
that the query is one. Nothing is fitted.

Reference: Geirhos et al., ICML 2025, figure 12 (mean and median of the first
100 distances, shown as boxes); Sun et al., "Out-of-distribution detection
with deep nearest neighbors", ICML 2022 (the k-th distance).
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from visual_memory.types import Neighbors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection:
  """How well a score tells outside from inside queries.

  Attributes:
    auroc: the chance that an outside query scores above an inside one, equal
      scores counting half.
    aupr: average precision with outside queries as positives: their share,
      for a score that says nothing.
    aupr_inside: the same with inside queries as positives.
    fpr95: fraction of inside queries flagged where at least 95 % of the
      outside ones are.
  """

  auroc: float
  aupr: float
  aupr_inside: float
  fpr95: float


def distance_scores(
  near: Neighbors, *, k: int
) -> dict[str, Float[np.ndarray, "Q"]]:
  """The mean, median and last of the first k distances (1 - similarity)."""
  if not 1 <= k <= near.k:
    raise ValueError(f"k = {k}, but each query has {near.k} neighbors.")
  distances = 1 - np.asarray(near.similarities)[:, :k].astype(np.float64)
  # Sorted already: the median needs no sorting.
  middle = (distances[:, (k - 1) // 2] + distances[:, k // 2]) / 2
  return {
    "mean": distances.mean(axis=1),
    "median": middle,
    "k-th": distances[:, -1],
  }


def detect(
  inside: Shaped[np.ndarray, "I"], outside: Shaped[np.ndarray, "O"]
) -> Detection:
  """The detection measures of one score.

  Raises:
    ValueError: a side without queries, or scores that are not finite.
  """
  inside, outside = np.asarray(inside), np.asarray(outside)
  both = np.concatenate([inside, outside])
  if not (len(inside) and len(outside)) or not np.isfinite(both).all():
    raise ValueError(
      f"{len(inside)} inside and {len(outside)} outside queries: both are"
      " needed, with finite scores."
    )
  inside, outside = np.sort(inside), np.sort(outside)
  most = outside[-math.ceil(0.95 * len(outside) - 1e-9)]
  return Detection(
    auroc=_auroc(inside, outside),
    aupr=_average_precision(outside, inside),
    aupr_inside=_average_precision(-inside[::-1], -outside[::-1]),
    fpr95=float(_at_least(inside, most) / len(inside)),
  )


def detect_each(
  inside: Neighbors, outside: Neighbors, *, ks: Sequence[int]
) -> dict[str, dict[int, Detection]]:
  """Every distance score at every k: {score: {k: Detection}}."""
  found = {}
  for k in ks:
    ours, theirs = (distance_scores(near, k=k) for near in (inside, outside))
    for name in ours:
      found.setdefault(name, {})[k] = detect(ours[name], theirs[name])
  return found


def auroc_by_class(
  inside: Neighbors,
  outside: Neighbors,
  labels: Int[np.ndarray, "O"],
  *,
  k: int,
  class_names: Sequence[str],
) -> dict[str, float]:
  """The AUROC of the mean distance for each class of outside queries."""
  ours, theirs = (
    distance_scores(near, k=k)["mean"] for near in (inside, outside)
  )
  ours = np.sort(ours)
  return {
    class_names[label]: _auroc(ours, theirs[labels == label])
    for label in np.unique(labels[labels >= 0])
  }


def auroc_by_k(inside: Neighbors, outside: Neighbors) -> Float[np.ndarray, "k"]:
  """The AUROC of the k-th distance, for every k that both have."""
  most = min(inside.k, outside.k)
  columns = zip(
    np.asarray(inside.similarities).T[:most],
    np.asarray(outside.similarities).T[:most],
    strict=True,
  )
  # Similarities are compared as they are: rounding 1 - s could make ties.
  return np.array([_auroc(np.sort(-near), -far) for near, far in columns])


def _auroc(inside, outside) -> float:
  """The share of pairs in the right order; inside is sorted."""
  below = np.searchsorted(inside, outside, side="left")
  not_above = np.searchsorted(inside, outside, side="right")
  return float((below + not_above).mean() / (2 * len(inside)))


def _average_precision(positive, negative) -> float:
  """Mean precision at the score of every positive; both are sorted."""
  true, false = (_at_least(side, positive) for side in (positive, negative))
  return float((true / (true + false)).mean())


def _at_least(ordered, threshold):
  """How many of the sorted scores reach each threshold."""
  return len(ordered) - np.searchsorted(ordered, threshold, side="left")
