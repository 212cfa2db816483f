"""Honest numbers: chosen on tuning queries, scored once on held-out ones.

  choice = choose(tuning, settings=settings, ks=ks, num_classes=10)
  scored = score(held_out, choice, num_classes=10, seed=0)
  published = best_on_held_out(held_out, settings=settings, ks=ks, ...)

`choose` takes `TuningQueries` only, which cannot be made of held-out queries.
For anything but votes (thresholds, weights of one's own), `best_answer`
chooses among any predictions for the tuning queries.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from visual_memory.analysis.intervals import (
  Difference,
  Interval,
  bootstrap_mean,
  paired,
)
from visual_memory.types import UNLABELED
from visual_memory.voting import metrics
from visual_memory.voting.queries import (
  HeldOutQueries,
  TuningQueries,
  check_held_out,
  check_tuning,
)
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import Setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
  """A setting and a k, chosen on tuning queries.

  Attributes:
    name: of the setting, as the candidates were named.
    setting: the voter and its hyper-parameters.
    k: the number of neighbors that vote.
    accuracy: on the queries that chose, a fraction: optimistic.
    num_queries: how many labelled queries chose.
  """

  name: str
  setting: Setting
  k: int
  accuracy: float
  num_queries: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
  """How held-out queries came out at one choice.

  Attributes:
    accuracy: with its bootstrap interval, over labelled queries.
    right: per labelled query, in order: for paired comparisons.
    predictions: int32 of every query, [Q].
  """

  accuracy: Interval
  right: Bool[np.ndarray, "labelled"]
  predictions: Int[np.ndarray, "Q"]


def choose(
  tuning: TuningQueries,
  *,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
) -> Choice:
  """The setting and k that are right most often on the tuning queries.

  Of equals, the first setting at the earliest k in ks wins.

  Raises:
    TypeError: anything but TuningQueries.
    ValueError: no labelled query; or as for `predict`.
  """
  choices = choose_each(
    tuning, settings=settings, ks=ks, num_classes=num_classes
  )
  return max(choices.values(), key=lambda choice: choice.accuracy)


def choose_each(
  tuning: TuningQueries,
  *,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
) -> dict[str, Choice]:
  """For each setting alone, the k that is right most often: see `choose`."""
  check_tuning(tuning)
  predictions = predict(
    tuning.near, tuple(settings.values()), ks=ks, num_classes=num_classes
  )
  choices = {}
  for (name, setting), answers in zip(
    settings.items(), predictions, strict=True
  ):
    (column,), accuracy = best_answer(tuning, answers)
    choices[name] = Choice(
      name=name,
      setting=setting,
      k=int(tuple(ks)[column]),
      accuracy=accuracy,
      num_queries=int((tuning.labels != UNLABELED).sum()),
    )
  return choices


def best_answer(
  tuning: TuningQueries, predictions: Int[np.ndarray, "*candidates T"]
) -> tuple[tuple[int, ...], float]:
  """Which candidate is right most often on the tuning queries.

  Args:
    tuning: the queries that choose.
    predictions: what each candidate answers them.

  Returns:
    The position of the first best candidate, and its accuracy, a fraction.

  Raises:
    TypeError: anything but TuningQueries.
    ValueError: no labelled query.
  """
  check_tuning(tuning)
  total = int((tuning.labels != UNLABELED).sum())
  if not total:
    raise ValueError("No tuning query has a label: nothing can be chosen.")
  correct = metrics.count_correct(predictions, tuning.labels)
  best = np.unravel_index(np.argmax(correct), correct.shape)
  return tuple(map(int, best)), int(correct[best]) / total


def score(
  held_out: HeldOutQueries, choice: Choice, *, num_classes: int, seed: int
) -> Scored:
  """The held-out queries at what was chosen; seed is the bootstrap's."""
  check_held_out(held_out)
  # With the last k asked for too, every choice of a voter is one program.
  predictions = predict(
    held_out.near,
    [choice.setting],
    ks=(choice.k, held_out.near.k),
    num_classes=num_classes,
  )[0, 0]
  return score_answer(held_out, predictions, seed=seed)


def score_answer(
  held_out: HeldOutQueries, predictions: Int[np.ndarray, "Q"], *, seed: int
) -> Scored:
  """The held-out queries by any predictions made for them."""
  check_held_out(held_out)
  known = held_out.labels != UNLABELED
  right = predictions[known] == held_out.labels[known]
  return Scored(
    accuracy=bootstrap_mean(right, seed=seed),
    right=right,
    predictions=predictions,
  )


def difference(ours: Scored, theirs: Scored, *, seed: int) -> Difference:
  """Our accuracy less theirs on the same queries, resampled together."""
  return paired(ours.right, theirs.right, seed=seed)


def best_on_held_out(
  held_out: HeldOutQueries,
  *,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
) -> dict[str, tuple[int, float]]:
  """As published: each setting's best k on the very queries it is scored on.

  Optimistic by construction, and to be reported under that name.

  Returns:
    {name: (k, accuracy)}; of equals, the earliest k in ks.

  Reference: the maximum over k on the evaluation set, which stands behind
    tables 1, 3 and 9 of Geirhos et al., ICML 2025.
  """
  check_held_out(held_out)
  table = metrics.accuracy_table(
    held_out.near,
    held_out.labels,
    settings=settings,
    ks=ks,
    num_classes=num_classes,
  )
  best = table.correct.argmax(axis=1)
  return {
    name: (table.ks[k], table.correct[i, k] / table.total)
    for i, (name, k) in enumerate(zip(table.names, best, strict=True))
  }
