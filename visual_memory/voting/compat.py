"""The vote as published, its quirks included, for matching published numbers.

  predict(labels, distances, voter="rank", ks=range(1, 101), num_classes=1000)

What the published code does, and `vote` does not:

1. Class 0: "no winner yet" is tested by falsiness, so that whenever class 0
   leads, the nearest neighbor's class is predicted instead.
2. Excluded neighbors (hard pruning) are skipped and the ranks behind them
   close up, without refilling the list; a query all of whose neighbors are
   excluded is treated as if none were. Before the first neighbor that is not
   excluded, the nearest neighbor's class is predicted, excluded or not.
3. Under exclusion, distances and reliability factors are read at the closed-up
   rank, from the list that still has the excluded ones: of the wrong neighbor.
4. Softmax weights are not normalized, and distances outside [-0.01, 1.01] are
   an error.

Everything is NumPy in float64. The published loop calls `math.exp`, which may
differ from NumPy's by one unit in the last place.

Reference: `main_analysis_plots.ipynb` of the visual-memory repository, the
aggregator classes; Geirhos et al., ICML 2025, section 3.1 (weights as coded).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from visual_memory.types import UNLABELED
from visual_memory.voting import vote_input, weighting

_MIN_OFFSET = 0.1
_MIN_TEMPERATURE = 1 / 700
"""exp(1 / temperature) is infinite in float64 below this."""


def predict(
  labels: Int[np.ndarray, "Q k"],
  distances: Float[np.ndarray, "Q k"],
  *,
  voter: str,
  ks: Sequence[int],
  num_classes: int,
  excluded: Bool[np.ndarray, "Q k"] | None = None,
  factors: Float[np.ndarray, "Q k"] | None = None,
  class_zero_bug: bool = True,
  index_bug: bool = True,
  ties: str = "reached",
  **hyper: float | int,
) -> Int32[np.ndarray, "K Q"]:
  """The published predictions by the first k neighbors, for each k in ks.

  Args:
    labels: classes of the neighbors, best first; none is UNLABELED.
    distances: 1 - similarity, or those of `min_max`.
    voter: as in `vote`.
    ks: as in `vote`; k counts the excluded neighbors too.
    num_classes: C; every label must be below it.
    excluded: neighbors to skip; none, if absent.
    factors: reliability factors that multiply the weights (the soft voters).
    class_zero_bug: quirk 1 above.
    index_bug: quirk 3 above; without it, each neighbor has its own values.
    ties: which of two classes with equal sums wins: "reached", the one that
      reached the sum first (the code); or "first", the one whose first
      neighbor is nearer (the code's documentation, and Python's Counter).
    **hyper: as in `vote`.

  Raises:
    ValueError: as for `vote`; an UNLABELED neighbor; unknown ties; or values
      at which the published code stops (offset below 0.1, softmax distances
      out of range) or overflows (temperature below 1/700).
  """
  ks = vote_input.ks(ks, labels.shape[1])
  labels = vote_input.labels(labels, num_classes)
  distances = vote_input.finite(distances, "distances").astype(np.float64)
  reason = obstacle(labels, distances, voter=voter)
  if reason:
    raise ValueError(f"{reason}: use `vote`.")
  if ties not in ("reached", "first"):
    raise ValueError(f"Unknown ties {ties!r}; choose 'reached' or 'first'.")
  voting, ranks = _survivors(labels, excluded)
  entries = ranks if index_bug else np.arange(labels.shape[1])[None]
  setting = weighting.setting(voter, **hyper)
  weights = _weights(distances, ranks, entries, setting=setting)
  if factors is not None:
    factors = vote_input.weights(factors, "factors", labels.shape)
    weights = weights * np.take_along_axis(factors, entries, axis=1)
  leaders = _leaders(
    np.where(voting, labels, UNLABELED), weights, first=ties == "first"
  )
  nobody = leaders <= 0 if class_zero_bug else leaders == UNLABELED
  predictions = np.where(nobody, labels[:, 0][None], leaders)
  return predictions[np.asarray(ks) - 1].astype(np.int32)


def obstacle(
  labels: Int[np.ndarray, "Q k"],
  distances: Float[np.ndarray, "Q k"],
  *,
  voter: str,
) -> str:
  """What of these neighbors the published code stops at; empty if nothing."""
  bad = labels == UNLABELED
  if bad.any():
    query, place = np.argwhere(bad)[0]
    return (
      f"Neighbor {place} of query {query} has no label; the published vote"
      " knows no such neighbors"
    )
  if voter != "softmax":
    return ""
  bad = (distances < -0.01) | (distances > 1.01)
  bad[:, 0] |= distances[:, 0] > distances[:, :2][:, -1]
  if not bad.any():
    return ""
  query, place = np.argwhere(bad)[0]
  return (
    f"Neighbor {place} of query {query} has distance"
    f" {distances[query, place]:.3g}; the published softmax vote needs"
    " distances from -0.01 to 1.01, the nearest first"
  )


def min_max(distances: Float[np.ndarray, "Q k"]) -> Float[np.ndarray, "Q k"]:
  """Distances scaled to [0, 1] over all queries and neighbors together.

  The published JFT and ReaL results vote on these. What one query votes then
  depends on all the others.
  """
  lowest, highest = distances.min(), distances.max()
  if not lowest < highest:
    raise ValueError(
      f"All distances are {lowest}: there is no range to scale to [0, 1]."
    )
  return (distances - lowest) / (highest - lowest)


def _survivors(labels, excluded):
  """Who votes, and the closed-up rank of each neighbor, both [Q, k]."""
  if excluded is None:
    excluded = np.zeros(labels.shape, bool)
  voting = ~excluded | excluded.all(axis=1, keepdims=True)
  return voting, np.maximum(np.cumsum(voting, axis=1) - 1, 0)


def _weights(distances, ranks, entries, *, setting):
  """The published weights [Q, k] of the neighbors that vote."""
  near = np.take_along_axis(distances, entries, axis=1)
  hyper = setting.hyper
  if setting.voter == "plurality":
    return np.ones(ranks.shape)
  if setting.voter == "rank":
    _at_least("offset", hyper["offset"], _MIN_OFFSET)
    return 1 / (ranks + hyper["offset"])
  if setting.voter == "distance":
    return np.exp(-near) ** hyper["exponent"]
  _at_least("temperature", hyper["temperature"], _MIN_TEMPERATURE)
  return np.exp((1 - near) / hyper["temperature"])


def _at_least(name, value, least):
  """Raises ValueError for a hyper-parameter that the published code refuses."""
  if value < least:
    raise ValueError(
      f"{name} = {value} is below {least:.3g}, where the published vote fails."
    )


def _leaders(labels, weights, *, first):
  """The leading class after each neighbor, [k, Q]; UNLABELED before any vote.

  A class is known by the place of its first neighbor, at which its sum is
  kept. first: whether the nearer of these places wins a tie.
  """
  num_queries, num_neighbors = labels.shape
  queries = np.arange(num_queries)
  sums = np.zeros(labels.shape)
  best = np.full(num_queries, -1.0)
  leader = np.zeros(num_queries, np.int64)
  leaders = np.full((num_neighbors, num_queries), UNLABELED)
  for place in range(num_neighbors):
    same = labels[:, : place + 1] == labels[:, place : place + 1]
    slot = same.argmax(axis=1)
    sums[queries, slot] += weights[:, place]
    total = sums[queries, slot]
    wins = total > best
    if first:
      wins |= (total == best) & (slot < leader)
    wins &= labels[:, place] != UNLABELED
    best = np.where(wins, total, best)
    leader = np.where(wins, slot, leader)
    chosen = labels[queries, leader]
    leaders[place] = np.where(best >= 0, chosen, UNLABELED)
  return leaders
