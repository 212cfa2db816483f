"""Rows whose label their own neighbors vote against, most suspicious first.

  near = search(rows.embeddings, memory, k=11, exclude_self=rows.ids)
  found = rank_label_errors(near, rows.labels, voter="rank", k=10,
                            num_classes=10)
  rows.ids[found.rows[:20]]                  # the twenty to look at first

A row's neighbors, itself left out, vote on its class. The margin is the share
of the vote that the best other class has, less the share of the row's own
label: 1 where all neighbors agree on another class, -1 where all agree with
the label. Where several rows have the same margin, those with more similar
neighbors come first: the nearer they are, the more their vote tells.

Reference: section 3.6 and figure 6 of Geirhos et al., ICML 2025, find label
errors by looking; ranking rows by a leave-one-out vote is ours, in the spirit
of Northcutt et al., "Confident learning", JAIR 2021. How well a ranking finds
labels, ours or another, is measured on some that are made wrong on purpose.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32

from visual_memory.analysis import label_noise
from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting import vote_input, weighting
from visual_memory.voting.shares import shares


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelErrors:
  """Rows in the order in which to look at them.

  Attributes:
    rows: positions of the labeled rows, most suspicious first, [N].
    suggested: the best class other than the label, UNLABELED where no
      neighbor has another one, [N].
    margin: share of the suggested class less that of the label, in [-1, 1],
      descending, [N].
  """

  rows: Int[np.ndarray, "N"]
  suggested: Int32[np.ndarray, "N"]
  margin: Float64[np.ndarray, "N"]

  def __len__(self) -> int:
    """The number of labeled rows."""
    return len(self.rows)

  @property
  def num_suspects(self) -> int:
    """How many rows lose the vote on their own label (margin above 0)."""
    return int((self.margin > 0).sum())


def rank_label_errors(
  near: Neighbors,
  labels: Int[Array, "N"],
  *,
  voter: str,
  k: int,
  num_classes: int,
  **hyper: float | int,
) -> LabelErrors:
  """Every labeled row, those most likely to be mislabeled first.

  Args:
    near: the leave-one-out neighbors of each row, [N, at least k].
    labels: the rows' labels, UNLABELED ones are left out, [N].
    voter: "plurality", "distance", "softmax" or "rank".
    k: how many neighbors vote.
    num_classes: C; every label must be below it.
    **hyper: the voter's hyper-parameters; see `weighting.setting`.

  Raises:
    ValueError: as `vote`, or labels that are not one for each row.
  """
  (k,) = vote_input.ks((k,), near.k)
  labels = np.asarray(labels)
  if labels.shape != (len(near),):
    raise ValueError(
      f"{labels.shape} labels for the neighbors of {len(near)} rows."
    )
  vote_input.labels(near.labels, num_classes)
  share = shares(near, weighting.setting(voter, **hyper), k=k)
  votes, own = share.labels, share.of(labels).astype(np.float64)
  other = np.where(
    (votes == labels[:, None]) | (votes == UNLABELED), -1.0, share.values
  )
  best = other.argmax(axis=1)
  strongest = np.take_along_axis(other, best[:, None], axis=1).squeeze(1)
  suggested = np.take_along_axis(votes, best[:, None], axis=1).squeeze(1)
  margin = np.maximum(strongest, 0) - own
  similarities = np.asarray(near.similarities)[:, :k].mean(axis=1)
  known = np.flatnonzero(labels != UNLABELED)
  order = np.lexsort((-similarities[known], -margin[known]))
  rows = known[order]
  return LabelErrors(
    rows=rows,
    suggested=np.where(strongest < 0, UNLABELED, suggested)[rows].astype(
      np.int32
    ),
    margin=margin[rows],
  )


def precision_at(
  found: LabelErrors, wrong: Bool[np.ndarray, "N"], counts: tuple[int, ...]
) -> dict[int, float]:
  """The fraction of truly mislabeled rows among the first ones, by count.

  Args:
    found: the ranking.
    wrong: which rows (by position) are mislabeled.
    counts: how many of the first candidates to look at, each from 1 to N.

  Raises:
    ValueError: a count out of range.
  """
  for count in counts:
    if not 1 <= count <= len(found):
      raise ValueError(f"{count} candidates of {len(found)} cannot be shown.")
  hits = np.cumsum(np.asarray(wrong, bool)[found.rows])
  return {count: float(hits[count - 1] / count) for count in counts}


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
