"""Test sets of other images, by all classes and by their own classes alone.

  found = score_set(answers, truth, ...)
  found["all classes"]["rank"]         # the 1000-way protocol
  found["own classes, votes"]["rank"]  # votes of other classes left out
  found["own classes, rows"]["rank"]   # rows of other classes left out

ImageNet-A and -R have images of 200 of the 1,000 classes. The paper scores
them among all 1,000; linear probes are often scored among the 200 alone. Both
are reported here, and the second in two ways: neighbors of other classes lose
their vote but keep their rank, or their rows are not searched at all.

Reference: Geirhos et al., ICML 2025, section 3.2 and table 2; the published
code takes the best k on the very set (and, for ReaL, the first 10 neighbors
and distances scaled to [0, 1] over the whole set).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Int32

from visual_memory.analysis.choosing import Choice
from visual_memory.analysis.intervals import (
  Difference,
  Interval,
  bootstrap_mean,
  paired,
)
from visual_memory.types import UNLABELED, Neighbors
from visual_memory.voting import compat
from visual_memory.voting.metrics import LabelSets, in_sets, label_sets
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import Setting, published_settings

REAL_K = 10
"""Neighbors that the published ReaL numbers look at."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShiftedScores:
  """How one test set came out under one protocol.

  Attributes:
    protocol: which classes compete, and how.
    num_classes: how many do.
    chosen: accuracy of every voter, k chosen on the memory's tuning rows.
    as_published: every voter's best k on this very set, and accuracy.
    nearest: accuracy of the nearest row's class.
    gains: every voter against the nearest row, on the same queries.
    num_unanswered: queries none of whose neighbors may vote (first voter).
  """

  protocol: str
  num_classes: int
  chosen: Mapping[str, Interval]
  as_published: Mapping[str, tuple[int, float]]
  nearest: float
  gains: Mapping[str, Difference]
  num_unanswered: int


def truth_of(labels: Int[np.ndarray, "Q"]) -> LabelSets:
  """The label sets of queries with one label each, or none (UNLABELED)."""
  return label_sets([[x] if x != UNLABELED else [] for x in labels.tolist()])


def only_classes(near: Neighbors, classes: Int[np.ndarray, "_"]) -> Neighbors:
  """The same neighbors, those of other classes without a vote."""
  labels = np.asarray(near.labels)
  kept = np.where(np.isin(labels, classes), labels, UNLABELED)
  return dataclasses.replace(near, labels=kept.astype(np.int32))


def score_set(
  near: Neighbors,
  truth: LabelSets,
  *,
  protocol: str,
  choices: Mapping[str, Choice],
  ks: Sequence[int],
  num_competing: int,
  num_classes: int,
  seed: int,
  min_max: bool = False,
) -> ShiftedScores:
  """One test set under one protocol.

  Args:
    near: its neighbors, under that protocol.
    truth: its right labels; queries without any are dropped.
    protocol: its name.
    choices: by voter, chosen on tuning rows of the memory; where fewer rows
      than k compete, all of them vote.
    ks: from which "as published" takes the best.
    num_competing: classes that compete.
    num_classes: C, of the memory.
    seed: of the intervals.
    min_max: whether "as published" is ReaL's way; see above.

  Raises:
    ValueError: no query with a label; or as for `vote`.
  """
  if not truth.total:
    raise ValueError("No query of this set has a label: nothing can be scored.")
  known = np.zeros(truth.num_queries, bool)
  known[truth.queries] = True
  votes = {
    name: predict(
      near,
      [choice.setting],
      ks=(min(choice.k, near.k),),
      num_classes=num_classes,
    )[0, 0]  # fmt: skip
    for name, choice in choices.items()
  }
  most = min(REAL_K, near.k) if min_max else near.k
  ks = tuple(k for k in ks if k <= most) or (most,)
  best = {}
  for name, setting in published_settings().items():
    predictions = _as_published(
      near, setting, ks=ks, num_classes=num_classes, min_max=min_max
    )
    correct = in_sets(predictions, truth).sum(axis=-1)
    at = int(correct.argmax())
    best[name] = ks[at], int(correct[at]) / truth.total
  right = lambda answers: in_sets(answers, truth)[known]
  nearest = right(np.asarray(near.labels)[:, 0])
  return ShiftedScores(
    protocol=protocol,
    num_classes=num_competing,
    chosen={
      name: bootstrap_mean(right(answers), seed=seed)
      for name, answers in votes.items()
    },
    as_published=best,
    nearest=float(nearest.mean()),
    gains={
      name: paired(right(answers), nearest, seed=seed)
      for name, answers in votes.items()
    },
    num_unanswered=int((next(iter(votes.values())) == UNLABELED).sum()),
  )


def _as_published(
  near: Neighbors,
  setting: Setting,
  *,
  ks: Sequence[int],
  num_classes: int,
  min_max: bool,
) -> Int32[np.ndarray, "K Q"]:
  """Predictions at every k, the published way where that can be followed."""
  if not min_max:
    return predict(near, [setting], ks=ks, num_classes=num_classes)[0]
  distances = 1 - np.asarray(near.similarities, np.float64)[:, :REAL_K]
  return compat.predict(
    np.asarray(near.labels)[:, :REAL_K],
    compat.min_max(distances),
    voter=setting.voter,
    ks=ks,
    num_classes=num_classes,
    **setting.hyper,
  )
