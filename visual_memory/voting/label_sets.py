"""Queries with several right answers, and none.

  sets = label_sets([[3], [], [1, 2]])
  in_sets(predictions, sets)            # who is right; the second cannot be
  sets.total, sets.num_empty            # 2, 1

A prediction is right if it is among the query's labels. Queries without any
label are dropped from the total, and counted.

Reference: Beyer et al., "Are we done with ImageNet?", 2020, section 3.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Int64

from visual_memory.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSets:
  """The right labels of Q queries; build one with `label_sets`.

  Attributes:
    queries: the query of each label, ascending, [M].
    labels: the labels, [M].
    num_queries: Q.
  """

  queries: Int64[np.ndarray, "M"]
  labels: Int64[np.ndarray, "M"]
  num_queries: int

  @property
  def total(self) -> int:
    """Queries that have a label."""
    return len(np.unique(self.queries))

  @property
  def num_empty(self) -> int:
    """Queries without one, which no total holds."""
    return self.num_queries - self.total


def label_sets(sets: Sequence[Sequence[int]]) -> LabelSets:
  """LabelSets of these labels, one sequence for each query."""
  sizes = [len(labels) for labels in sets]
  flat = np.array([label for labels in sets for label in labels], np.int64)
  if (flat < 0).any():
    raise ValueError(f"Labels start at 0; there is {flat.min()}.")
  return LabelSets(
    queries=np.repeat(np.arange(len(sets)), sizes),
    labels=flat,
    num_queries=len(sets),
  )


def in_sets(
  predictions: Int[Array, "*rest Q"], sets: LabelSets
) -> Bool[np.ndarray, "*rest Q"]:
  """Which predictions are among their query's labels.

  Raises:
    ValueError: not one prediction for each query.
  """
  predictions = np.asarray(predictions, np.int64)
  if predictions.shape[-1] != sets.num_queries:
    raise ValueError(
      f"{predictions.shape[-1]} predictions for {sets.num_queries} queries."
    )
  most = 1 + max(sets.labels.max(initial=0), predictions.max(initial=0))
  right = np.sort(sets.queries * most + sets.labels)
  asked = np.arange(sets.num_queries) * most
  codes = predictions + asked.reshape((1,) * (predictions.ndim - 1) + (-1,))
  found = np.isin(codes, right)
  return found & (predictions >= 0)  # -1 would be the last of the one before.
