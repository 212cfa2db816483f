"""How well a ranking finds labels that were made wrong on purpose."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from visual_memory.analysis import label_noise
from visual_memory.analysis.label_errors import LabelErrors, precision_at
from visual_memory.types import Neighbors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planted:
  """What a ranking found.

  Attributes:
    num_wrong: how many labels were made wrong.
    num_rows: of how many.
    precision: the fraction of them among the first rows, by their number.
  """

  num_wrong: int
  num_rows: int
  precision: Mapping[int, float]


def find_planted(
  rank: Callable[[Neighbors, np.ndarray], LabelErrors],
  near: Neighbors,
  labels: Int[np.ndarray, "N"],
  ids: np.ndarray,
  *,
  num_classes: int,
  fraction: float,
  counts: Sequence[int],
  seed: int,
) -> Planted:
  """Plants errors, ranks the rows, and counts what comes first.

  Args:
    rank: from leave-one-out neighbors and labels of all rows to a ranking.
    near: the leave-one-out neighbors of all rows, in the rows' order.
    labels: the rows' labels, [N].
    ids: the rows' ids, [N].
    num_classes: C; a wrong label is any other class alike.
    fraction: of the labels to make wrong, in (0, 1).
    counts: how many first rows to look at; those beyond N are cut to N, and
      the number of planted errors is added.
    seed: which labels, and what they become.

  Raises:
    ValueError: neighbors of other rows.
  """
  near.check_rows(ids)
  noise = label_noise.symmetric_noise(num_classes, keep_possible=False)
  planted = label_noise.corruption(labels, ids, noise, seed=seed).at(fraction)
  wrong = planted != labels
  near = label_noise.relabelled(near, planted)
  found = rank(near, planted)
  counts = {min(int(count), len(found)) for count in (*counts, wrong.sum())}
  counts = tuple(sorted(counts - {0}))
  return Planted(
    num_wrong=int(wrong.sum()),
    num_rows=len(labels),
    precision=precision_at(found, wrong, counts),
  )
