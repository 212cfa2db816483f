"""Voters compared at all k, and encoders: by an honest choice, in pairs.

  found = compare_voters(held_out, tuning, settings=published_settings(),
                         ks=range(1, 101), num_classes=C, seed=0)
  curve = sweep(held_out, tuning, voter="rank", values=(1, 2, 4), ...)
  standings = rank_encoders(scored, baseline="shaders", seed=0)
  standings["kml"].gain                          # over the baseline, 95 %

Reference: Geirhos et al., ICML 2025, tables 4 to 9, figures 2, 7, 8 and 9. The
published sweeps of exponent and temperature use the first 10 neighbors, that
of the offset the first 100, although the caption says 100 for all.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from visual_memory.analysis import choosing
from visual_memory.analysis.intervals import Difference, Interval
from visual_memory.voting import metrics, weighting
from visual_memory.voting.metrics import AccuracyTable
from visual_memory.voting.queries import HeldOutQueries, TuningQueries
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import Setting

_TOGETHER = 6
"""Values of a sweep in one pass: they share the work that none changes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """How voters did on one memory.

  Attributes:
    table: counts of every voter at every k, on held-out queries.
    choices: for each voter, its k chosen on tuning queries.
    scored: for each voter, the held-out queries at that k.
    published: for each voter, the best (k, accuracy) on the held-out queries
      themselves, as published.
    overall: the voter and k that the tuning queries prefer.
    gains: for each voter, its accuracy less that of one nearest neighbor, on
      the same queries, at the chosen k.
  """

  table: AccuracyTable
  choices: dict[str, choosing.Choice]
  scored: dict[str, choosing.Scored]
  published: dict[str, tuple[int, float]]
  overall: choosing.Choice
  gains: dict[str, Difference]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
  """One voter at many values of its hyper-parameter, every k.

  Attributes:
    voter: which.
    hyper: the hyper-parameter's name.
    values: its values.
    ks: the numbers of neighbors.
    held_out: accuracy on held-out queries, [V, K].
    tuning: accuracy on tuning queries, [V, K].
  """

  voter: str
  hyper: str
  values: tuple[float, ...]
  ks: tuple[int, ...]
  held_out: Float[np.ndarray, "V K"]
  tuning: Float[np.ndarray, "V K"]

  def chosen(self) -> tuple[int, int]:
    """Positions of the value and the k that the tuning queries prefer."""
    row, column = np.unravel_index(self.tuning.argmax(), self.tuning.shape)
    return int(row), int(column)


def compare_voters(
  held_out: HeldOutQueries,
  tuning: TuningQueries,
  *,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
  seed: int,
) -> Comparison:
  """Every voter at every k, and what can honestly be said about each.

  Args:
    held_out: the queries to score.
    tuning: the queries that choose.
    settings: the voters by name.
    ks: numbers of neighbors.
    num_classes: C.
    seed: of the bootstrap.
  """
  ks = tuple(map(int, ks))
  common = {"ks": ks, "num_classes": num_classes}
  table = _table(held_out, settings, **common)
  choices = choosing.choose_each(tuning, settings=settings, **common)
  # The same program as both of the above, whatever was chosen.
  predictions = predict(held_out.near, tuple(settings.values()), **common)
  score = lambda row, k: choosing.score_answer(
    held_out, predictions[row, ks.index(k)], seed=seed
  )
  scored = {
    name: score(row, choice.k)
    for row, (name, choice) in enumerate(choices.items())
  }
  nearest = choosing.score_answer(
    held_out, np.asarray(held_out.near.labels)[:, 0], seed=seed
  )
  best = table.correct.argmax(axis=1)
  return Comparison(
    table=table,
    choices=choices,
    scored=scored,
    published={
      name: (table.ks[column], table.correct[row, column] / table.total)
      for row, (name, column) in enumerate(zip(table.names, best, strict=True))
    },
    overall=max(choices.values(), key=lambda choice: choice.accuracy),
    gains={
      name: choosing.difference(value, nearest, seed=seed)
      for name, value in scored.items()
    },
  )


def sweep(
  held_out: HeldOutQueries,
  tuning: TuningQueries,
  *,
  voter: str,
  values: Sequence[float],
  ks: Sequence[int],
  num_classes: int,
) -> Sweep:
  """A voter's hyper-parameter at many values, from one retrieval.

  Raises:
    ValueError: a voter without exactly one hyper-parameter.
  """
  hypers = tuple(weighting.rule(voter).hypers)
  if len(hypers) != 1:
    raise ValueError(f"The voter {voter!r} has no one hyper-parameter.")
  settings = [weighting.setting(voter, **{hypers[0]: v}) for v in values]
  of = lambda queries: np.concatenate(
    [
      _accuracies(queries, part, ks=ks, num_classes=num_classes)
      for part in (
        settings[start : start + _TOGETHER]
        for start in range(0, len(settings), _TOGETHER)
      )
    ]
  )
  return Sweep(
    voter=voter,
    hyper=hypers[0],
    values=tuple(map(float, values)),
    ks=tuple(map(int, ks)),
    held_out=of(held_out),
    tuning=of(tuning),
  )


def _accuracies(queries, settings, *, ks, num_classes):
  """The accuracy of some settings at every k, [V, K].

  The last setting stands in for those that are missing, so that any number of
  values runs one compiled program.
  """
  padded = settings + [settings[-1]] * (_TOGETHER - len(settings))
  table = _table(
    queries,
    {str(i): setting for i, setting in enumerate(padded)},
    ks=ks,
    num_classes=num_classes,
  )
  return table.correct[: len(settings)] / max(1, table.total)


def _table(queries, settings, *, ks, num_classes) -> AccuracyTable:
  """The counts of some queries."""
  return metrics.accuracy_table(
    queries.near,
    queries.labels,
    settings=settings,
    ks=ks,
    num_classes=num_classes,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
  """Where one encoder stands.

  Attributes:
    accuracy: on the queries, with its bootstrap interval.
    gain: against the baseline, this pair alone; None of itself.
  """

  accuracy: Interval
  gain: Difference | None


def rank_encoders(
  scored: Mapping[str, choosing.Scored], *, baseline: str, seed: int
) -> dict[str, Standing]:
  """Every encoder's standing, the most accurate first.

  Args:
    scored: by name, of one set of queries in one order.
    baseline: the name that all others are compared with.
    seed: of the bootstrap.

  Raises:
    ValueError: no such baseline, or another number of queries than its.
  """
  if baseline not in scored:
    raise ValueError(
      f"The baseline {baseline!r} is not among the encoders:"
      f" {', '.join(scored)}."
    )
  reference = scored[baseline]
  for name, one in scored.items():
    if len(one.right) != len(reference.right):
      raise ValueError(
        f"{name} answered {len(one.right)} queries, {baseline}"
        f" {len(reference.right)}: they cannot be compared in pairs."
      )
  ranked = sorted(scored.items(), key=lambda item: -item[1].accuracy.mean)
  return {
    name: Standing(
      accuracy=one.accuracy,
      gain=None
      if name == baseline
      else choosing.difference(one, reference, seed=seed),
    )
    for name, one in ranked
  }
