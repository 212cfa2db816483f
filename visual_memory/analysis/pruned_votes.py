"""Pruned memories compared: thresholds chosen on tuning rows, scored once.

  treatments = {"none": [NOTHING], "hard": hard(wrong, (64, 128, 256)),
                "soft": soft(wrong, scales=(1.75,), exponents=(0.5, 1, 2))}
  found = compare(tuning, held_out, treatments, row_ids=embedded.ids,
                  settings=settings, ks=ks, num_classes=10, seed=0,
                  search=search)
  found["hard"]["rank"].treatment.name, found["hard"]["rank"].scored.accuracy

Of each kind of treatment, every voter chooses its own treatment and k on the
tuning queries. To be honest, what the treatments are made of (wrong counts,
effects of removal) must not have seen the tuning queries either.

Reference: Geirhos et al., ICML 2025, table 3, whose thresholds and k are
chosen on the test set: `best_on_held_out_as_published` is that.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from visual_memory.analysis import choosing, pruning
from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting import compat, metrics
from visual_memory.voting.queries import HeldOutQueries, TuningQueries
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import Setting

SearchWithout = Callable[..., Neighbors]
"""From (which of these queries, which rows are excluded) to their neighbors."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Treatment:
  """What is done to the memory's rows: some removed, or all discounted.

  Attributes:
    name: such as "v >= 128".
    excluded: rows that are removed, [N]; none, if absent.
    factors: reliability of each row, [N], if none is removed.
  """

  name: str
  excluded: Bool[np.ndarray, "N"] | None = None
  factors: Float[np.ndarray, "N"] | None = None

  @property
  def num_excluded(self) -> int:
    """Rows that are removed."""
    return 0 if self.excluded is None else int(self.excluded.sum())


NOTHING = Treatment(name="none")
"""Every row counts as it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pruned:
  """How one voter does with the treatment that it chose.

  Attributes:
    treatment: chosen on the tuning queries.
    k: likewise.
    tuning_accuracy: on the queries that chose; optimistic.
    scored: the held-out queries.
  """

  treatment: Treatment
  k: int
  tuning_accuracy: float
  scored: choosing.Scored


def hard(counts: Int[Array, "N"], thresholds: Sequence[int], *, symbol="v"):
  """Treatments that remove the rows whose count reaches a threshold.

  Args:
    counts: of each row: wrong ones, or answers that its removal would win.
    thresholds: least counts to remove.
    symbol: what the count is called in the names.

  Raises:
    ValueError: a threshold below 1, which rows without offence would reach.
  """
  counts = np.asarray(counts)
  for threshold in thresholds:
    if threshold < 1:
      raise ValueError(f"Threshold {threshold} would remove blameless rows.")
  return [
    Treatment(name=f"{symbol} >= {t}", excluded=counts >= t) for t in thresholds
  ]


def soft(
  wrong: Int[Array, "N"],
  *,
  scales: Sequence[float],
  exponents: Sequence[float],
) -> list[Treatment]:
  """Treatments that discount rows by `pruning.reliability`."""
  return [
    Treatment(
      name=f"{scale:g} / (1 + v)" + (f"^{exponent:g}" if exponent != 1 else ""),
      factors=pruning.reliability(wrong, scale=scale, exponent=exponent),
    )
    for scale in scales
    for exponent in exponents
  ]


def answers(
  near: Neighbors,
  treatment: Treatment,
  *,
  settings: Sequence[Setting],
  ks: Sequence[int],
  num_classes: int,
  search: SearchWithout,
) -> Int32[np.ndarray, "V K Q"]:
  """The votes under a treatment; rows that it removes never were.

  Args:
    near: neighbors in the whole memory, more than max(ks) to refill from.
    treatment: what is done to the rows.
    settings: the voters.
    ks: as in `vote`.
    num_classes: C.
    search: called as search(which, excluded, k) for the queries (bool [Q])
      whose neighbors run out: their k neighbors in a memory of the rows that
      are left.
  """
  factors = None
  if treatment.factors is not None:
    factors = treatment.factors[near.indices]
  elif treatment.excluded is not None and treatment.excluded.any():
    near = without(near, treatment.excluded, max(ks), search)
  return predict(
    near, tuple(settings), ks=ks, num_classes=num_classes, factors=factors
  )


def without(
  near: Neighbors,
  excluded: Bool[np.ndarray, "N"],
  k: int,
  search: SearchWithout,
) -> Neighbors:
  """The first k neighbors among the rows that are not excluded.

  Their indices are positions among all rows, excluded ones included. See
  `answers`.
  """
  refilled = pruning.refill(near, excluded[near.indices], k=k)
  if not refilled.short.any():
    return refilled.near
  again = search(refilled.short, excluded, k)
  positions = np.flatnonzero(~excluded).astype(np.int32)[again.indices]
  again = dataclasses.replace(again, indices=positions)
  return pruning.fill_short(refilled, again)


def answers_as_published(
  near: Neighbors,
  treatment: Treatment,
  *,
  settings: Sequence[Setting],
  ks: Sequence[int],
  num_classes: int,
) -> Int32[np.ndarray, "V K Q"]:
  """The published votes: ranks close up, nothing is refilled, bugs included.

  Only the first max(ks) neighbors are looked at. See `voting.compat`.
  """
  most = max(ks)
  labels = np.asarray(near.labels)[:, :most]
  distances = 1 - np.asarray(near.similarities, np.float64)[:, :most]
  positions = np.asarray(near.indices)[:, :most]
  pick = lambda values: None if values is None else values[positions]
  return np.stack(
    [
      compat.predict(
        labels,
        distances,
        voter=setting.voter,
        ks=ks,
        num_classes=num_classes,
        excluded=pick(treatment.excluded),
        factors=pick(treatment.factors),
        **setting.hyper,
      )
      for setting in settings
    ]
  )


def feasible(
  treatments: Mapping[str, Sequence[Treatment]],
  near: Sequence[Neighbors],
  *,
  k: int,
  searchable: bool,
) -> tuple[dict[str, list[Treatment]], dict[str, str]]:
  """The treatments that can be counted, and why the others cannot.

  Args:
    treatments: by kind; a kind of which none is left is left out.
    near: the neighbors of every set of queries that will be asked.
    k: how many have to be left to every query.
    searchable: whether queries that run short can be searched again.

  Returns:
    The treatments that are left, and {"kind: treatment": reason}.
  """
  kept, reasons = {}, {}
  for kind, candidates in treatments.items():
    for treatment in candidates:
      reason = _obstacle(treatment, near, k, searchable)
      if reason:
        reasons[f"{kind}: {treatment.name}"] = reason
      else:
        kept.setdefault(kind, []).append(treatment)
  return kept, reasons


def _obstacle(treatment, near, k, searchable) -> str:
  """Why a treatment cannot be counted; empty if it can."""
  excluded = treatment.excluded
  if excluded is None or not excluded.any():
    return ""
  left = int((~excluded).sum())
  if left <= k:
    return f"{left} rows would be left, too few for k = {k}"
  if searchable:
    return ""
  short = [
    pruning.refill(one, excluded[one.indices], k=k).short.any() for one in near
  ]
  return "its queries run short of the neighbors on file" if any(short) else ""


def compare(
  tuning: TuningQueries,
  held_out: HeldOutQueries,
  treatments: Mapping[str, Sequence[Treatment]],
  *,
  row_ids: np.ndarray,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
  seed: int,
  search: Callable[..., Neighbors],
) -> dict[str, dict[str, Pruned]]:
  """Every kind of treatment by every voter: {kind: {voter: how it does}}.

  Args:
    tuning: the queries that choose.
    held_out: the queries that are scored.
    treatments: by kind.
    row_ids: the memory's ids, which excluded and factors go by, [N].
    settings: the voters, by name.
    ks: numbers of neighbors to choose from.
    num_classes: C.
    seed: of the confidence intervals.
    search: called as search(queries, which, excluded, k) with the tuning or
      held-out queries; see `answers`.
  """
  asked = lambda queries: lambda *rest: search(queries, *rest)
  votes = dict(settings=tuple(settings.values()), num_classes=num_classes)
  for queries in (tuning, held_out):
    queries.near.check_rows(row_ids)
  found = {}
  for kind, candidates in treatments.items():
    predictions = np.stack(
      [
        answers(
          tuning.near, treatment, ks=ks, search=asked(tuning), **votes
        )
        for treatment in candidates
      ],
      axis=1,
    )  # fmt: skip
    found[kind] = {}
    for row, (name, setting) in enumerate(settings.items()):
      (which, column), accuracy = choosing.best_answer(tuning, predictions[row])
      treatment, k = candidates[which], int(tuple(ks)[column])
      scored = answers(
        held_out.near, treatment, settings=(setting,), ks=(k,),
        num_classes=num_classes, search=asked(held_out),
      )[0, 0]  # fmt: skip
      found[kind][name] = Pruned(
        treatment=treatment,
        k=k,
        tuning_accuracy=accuracy,
        scored=choosing.score_answer(held_out, scored, seed=seed),
      )
  return found


def to_remove(
  found: Mapping[str, Mapping[str, Pruned]],
) -> Int[np.ndarray, "removed"]:
  """The rows that the treatment which tuning likes best removes; maybe none.

  Of treatments that discount rows nothing is removed: they do not compete.
  """
  best = max(
    (
      result
      for results in found.values()
      for result in results.values()
      if result.treatment.factors is None
    ),
    key=lambda result: result.tuning_accuracy,
  )
  excluded = best.treatment.excluded
  return np.flatnonzero([] if excluded is None else excluded)


def best_on_held_out_as_published(
  held_out: HeldOutQueries,
  treatments: Mapping[str, Treatment],
  *,
  row_ids: np.ndarray,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
) -> dict[str, dict[str, tuple[int, float]]]:
  """As published: votes of `answers_as_published` at the best k on test.

  Returns:
    {treatment: {voter: (k, accuracy)}}.
  """
  held_out.near.check_rows(row_ids)
  total = max(1, int((held_out.labels != UNLABELED).sum()))
  found = {kind: {} for kind in treatments}
  for kind, treatment in treatments.items() if settings else ():
    predictions = answers_as_published(
      held_out.near, treatment, settings=tuple(settings.values()),
      ks=ks, num_classes=num_classes,
    )  # fmt: skip
    correct = metrics.count_correct(predictions, held_out.labels)
    best = correct.argmax(axis=1)
    found[kind] = {
      name: (int(tuple(ks)[k]), correct[row, k] / total)
      for row, (name, k) in enumerate(zip(settings, best, strict=True))
    }
  return found
