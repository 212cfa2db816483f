"""How accurate the answered queries are if the unsure ones are declined.

  curve = selective_curve(confidence, right)
  curve.accuracy_at(0.8)                 # of the 80 % most confident
  threshold = threshold_for(tune_confidence, tuning, tune_predictions,
                            accuracy=0.9)

Reference: Geifman and El-Yaniv, "Selective classification for deep neural
networks", NeurIPS 2017.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from visual_memory.types import UNLABELED
from visual_memory.voting.queries import TuningQueries, check_tuning


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
