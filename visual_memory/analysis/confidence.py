"""Confidence of any voter: raw shares, fitted probabilities, and distance.

  found = confident_votes(held_out, tuning, settings=settings, ks=ks, ...)
  found["rank"].raw.ece, found["rank"].fitted.nll

  curve = selective_curve(confidence, right)
  curve.accuracy_at(0.8)                 # of the 80 % most confident

k is chosen on the tuning queries, as are temperature and smoothing. The curve
is that of Geifman and El-Yaniv, "Selective classification for deep neural
networks", NeurIPS 2017: how accurate the answers are if unsure ones are
declined.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from visual_memory.analysis import calibration, choosing
from visual_memory.analysis.probabilities import (
  Probabilities,
  ProbabilityModel,
  fit_probabilities,
  probabilities,
  published_model,
)
from visual_memory.types import UNLABELED
from visual_memory.voting.queries import (
  HeldOutQueries,
  TuningQueries,
  check_tuning,
)
from visual_memory.voting.shares import shares
from visual_memory.voting.weighting import Setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectiveCurve:
  """Accuracy against coverage, the most confident queries first.

  Queries of equal confidence are answered or declined together: there is one
  point for each distinct confidence.

  Attributes:
    thresholds: answered is whoever is at least this confident, descending.
    coverage: fraction answered, rising to 1.
    accuracy: fraction right of those answered.
  """

  thresholds: Float[np.ndarray, "t"]
  coverage: Float[np.ndarray, "t"]
  accuracy: Float[np.ndarray, "t"]

  def accuracy_at(self, coverage: float) -> float:
    """The accuracy at the smallest coverage of at least this much."""
    return float(self.accuracy[np.searchsorted(self.coverage, coverage - 1e-9)])

  def area(self) -> float:
    """Mean over the queries of the error at their confidence (AURC)."""
    return float(np.diff(self.coverage, prepend=0) @ (1 - self.accuracy))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration(calibration.Calibrated):
  """How good probabilities are on held-out queries.

  Attributes:
    model: what made them of shares.
    confidence: the probability of each labelled query's prediction.
    right: whether the prediction is right.
    selective: accuracy by coverage.
  """

  model: ProbabilityModel
  confidence: Float[np.ndarray, "Q"]
  right: Bool[np.ndarray, "Q"]
  selective: SelectiveCurve


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfidentVote:
  """One voter at its chosen k.

  Attributes:
    choice: the k, chosen on tuning queries.
    raw: probabilities from the shares as they are.
    fitted: temperature and smoothing fitted on tuning queries.
    promised: {accuracy: (threshold, coverage, accuracy reached)}: declining
      below the threshold that reaches this accuracy on tuning queries.
  """

  choice: choosing.Choice
  raw: Calibration
  fitted: Calibration
  promised: dict[float, tuple[float, float, float | None]]


def confident_votes(
  held_out: HeldOutQueries,
  tuning: TuningQueries,
  *,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
  num_bins: int,
  promises: Sequence[float],
) -> dict[str, ConfidentVote]:
  """Every voter's calibration and abstention, on held-out queries.

  Args:
    held_out: the queries to score.
    tuning: the queries that choose and fit.
    settings: voters by name.
    ks: candidates for k.
    num_classes: C.
    num_bins: bins of the calibration error.
    promises: accuracies to reach by declining unsure queries.
  """
  choices = choosing.choose_each(
    tuning, settings=settings, ks=ks, num_classes=num_classes
  )
  measure = lambda choice: _measure(
    held_out,
    tuning,
    choice,
    num_classes=num_classes,
    num_bins=num_bins,
    promises=promises,
  )
  return {name: measure(choice) for name, choice in choices.items()}


def _measure(
  held_out, tuning, choice, *, num_classes, num_bins, promises
) -> ConfidentVote:
  """One voter's calibration and abstention."""
  share = shares(held_out.near, choice.setting, k=choice.k)
  tune_share = shares(tuning.near, choice.setting, k=choice.k)
  fitted = fit_probabilities(tune_share, tuning, num_classes=num_classes)
  calibrate = lambda model: calibrated(
    probabilities(share, model, num_classes=num_classes),
    share.leaders(),
    held_out.labels,
    model=model,
    num_bins=num_bins,
  )
  of_fit = calibrate(fitted)
  tune_predictions = tune_share.leaders()
  tune_confidence = probabilities(
    tune_share, fitted, num_classes=num_classes
  ).of(tune_predictions)
  thresholds = {
    accuracy: threshold_for(
      tune_confidence, tuning, tune_predictions, accuracy=accuracy
    )
    for accuracy in promises
  }
  return ConfidentVote(
    choice=choice,
    raw=calibrate(published_model(choice.k)),
    fitted=of_fit,
    promised={
      accuracy: _kept(of_fit, threshold)
      for accuracy, threshold in thresholds.items()
    },
  )


def calibrated(
  probability: Probabilities,
  predictions: np.ndarray,
  labels: np.ndarray,
  *,
  model: ProbabilityModel,
  num_bins: int,
) -> Calibration:
  """How good the probabilities of labelled queries are.

  A query of a class beyond num_classes counts as wrong, with the probability
  of a class that no neighbor has.
  """
  known = labels != UNLABELED
  confidence = probability.of(predictions)[known]
  right = (predictions == labels)[known]
  return Calibration(
    model=model,
    confidence=confidence,
    right=right,
    **calibration.both_bins(confidence, right, num_bins=num_bins),
    brier=float(probability.brier(labels)[known].mean()),
    nll=float(probability.nll(labels)[known].mean()),
    selective=selective_curve(confidence, right),
  )


def _kept(found, threshold) -> tuple[float, float, float | None]:
  """The threshold, who is answered, and how well."""
  answered = found.confidence >= threshold
  accuracy = float(found.right[answered].mean()) if answered.any() else None
  return threshold, float(answered.mean()), accuracy


def selective_curve(
  confidence: Float[np.ndarray, "Q"], right: Bool[np.ndarray, "Q"]
) -> SelectiveCurve:
  """The curve of these queries.

  Raises:
    ValueError: no queries, or confidences that are not finite.
  """
  confidence = np.asarray(confidence)
  if not len(confidence) or not np.isfinite(confidence).all():
    raise ValueError("A selective curve needs finite confidences.")
  order = np.argsort(-confidence, kind="stable")
  ordered = confidence[order]
  ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
  correct = np.cumsum(np.asarray(right)[order])[ends]
  return SelectiveCurve(
    thresholds=ordered[ends],
    coverage=(ends + 1) / len(ordered),
    accuracy=correct / (ends + 1),
  )


def threshold_for(
  confidence: Float[np.ndarray, "T"],
  tuning: TuningQueries,
  predictions: Int[np.ndarray, "T"],
  *,
  accuracy: float,
) -> float:
  """The lowest confidence at which tuning queries are accurate enough.

  Infinity if no threshold reaches the accuracy.

  Raises:
    TypeError: anything but TuningQueries.
  """
  check_tuning(tuning)
  known = tuning.labels != UNLABELED
  curve = selective_curve(
    confidence[known], (predictions == tuning.labels)[known]
  )
  enough = np.flatnonzero(curve.accuracy >= accuracy)
  return float(curve.thresholds[enough[-1]]) if len(enough) else float("inf")
