"""Confidence of any voter: raw shares, fitted probabilities, and distance.

  found = confident_votes(held_out, tuning, settings=settings, ks=ks, ...)
  found["rank"].raw.ece, found["rank"].fitted.nll

k is chosen on the tuning queries, as are temperature and smoothing.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from visual_memory.analysis import abstention, calibration, choosing
from visual_memory.analysis.abstention import SelectiveCurve
from visual_memory.analysis.probabilities import (
  Probabilities,
  ProbabilityModel,
  fit_probabilities,
  probabilities,
  published_model,
)
from visual_memory.types import UNLABELED
from visual_memory.voting.queries import HeldOutQueries, TuningQueries
from visual_memory.voting.shares import shares
from visual_memory.voting.weighting import Setting


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
    accuracy: abstention.threshold_for(
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
    selective=abstention.selective_curve(confidence, right),
  )


def _kept(found, threshold) -> tuple[float, float, float | None]:
  """The threshold, who is answered, and how well."""
  answered = found.confidence >= threshold
  accuracy = float(found.right[answered].mean()) if answered.any() else None
  return threshold, float(answered.mean()), accuracy
