"""Whether confidence, and a single neighbor, can be relied on.

  bins = reliability_bins(confidence, right, num_bins=15, adaptive=False)
  bins.ece()                                    # expected calibration error
  counts = count_bins(near, labels, k=100)      # as published, figure 15
  entropies = entropy_bins(near, labels, k=100, ...)
  curve = reliability(near, labels)      # of the i-th neighbor alone, [k]
  fit = fit_logarithm(near, labels)      # accuracy = a ln(i) + b
  hits = hit_rate(near, labels)          # the class is among the first k, [k]

The published analysis drops unanimous queries (a count of k, a confidence of
1) by its choice of bins. Here they are kept; `without_last` drops them.

Reference: Geirhos et al., ICML 2025, appendix M, and figures 1, 11 and 13,
whose fit is least squares over i = 1..100 with accuracies in [0, 1]; Guo et
al., "On calibration of modern neural networks", ICML 2017, for the expected
calibration error.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from visual_memory.analysis.intervals import Line, fit_line
from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting.shares import Shares, shares
from visual_memory.voting.weighting import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bins:
  """Queries grouped by confidence; empty bins are left out.

  Attributes:
    confidence: the mean confidence of each bin, [b].
    accuracy: the fraction right of each bin, [b].
    counts: queries of each bin, [b].
  """

  confidence: Float[np.ndarray, "b"]
  accuracy: Float[np.ndarray, "b"]
  counts: Int[np.ndarray, "b"]

  def ece(self) -> float:
    """Mean gap between confidence and accuracy, weighted by queries."""
    gaps = np.abs(self.confidence - self.accuracy)
    return float(gaps @ self.counts / self.counts.sum())

  def without_last(self) -> "Bins":
    """Without the bin of the most confident queries, as published."""
    return Bins(
      confidence=self.confidence[:-1],
      accuracy=self.accuracy[:-1],
      counts=self.counts[:-1],
    )


def reliability_bins(
  confidence: Float[np.ndarray, "Q"],
  right: Bool[np.ndarray, "Q"],
  *,
  num_bins: int,
  adaptive: bool,
) -> Bins:
  """Queries in bins of confidence.

  Args:
    confidence: of each prediction, in [0, 1].
    right: whether it was right.
    num_bins: how many bins.
    adaptive: whether each bin holds as many queries (give or take one), rather
      than spanning as much confidence.

  Raises:
    ValueError: no queries, or confidences outside [0, 1].
  """
  confidence = np.asarray(confidence, np.float64)
  if not len(confidence):
    raise ValueError("There are no queries to put into bins.")
  outside = ~((confidence >= 0) & (confidence <= 1 + 1e-6))
  if outside.any():
    query = int(np.argmax(outside))
    raise ValueError(
      f"Query {query} has confidence {confidence[query]}, outside [0, 1]."
    )
  if adaptive:
    order = np.argsort(confidence, kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) * num_bins // len(order)
  else:
    places = np.minimum((confidence * num_bins).astype(np.int64), num_bins - 1)
  return _bins(places, confidence, right, num_bins)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibrated:
  """How good a classifier's probabilities are.

  Attributes:
    bins: of equal width.
    adaptive_bins: of equal numbers of queries.
    brier: mean squared distance to certainty of the true class, in [0, 2].
    nll: mean negative log likelihood, nats.
  """

  bins: Bins
  adaptive_bins: Bins
  brier: float
  nll: float


def calibrated(
  probabilities: Float[np.ndarray, "Q C"],
  labels: Int[np.ndarray, "Q"],
  *,
  num_bins: int,
) -> Calibrated:
  """What the probabilities of labelled queries are worth.

  Args:
    probabilities: of every class.
    labels: the true classes, all below C.
    num_bins: how many bins.
  """
  confidence = probabilities.max(axis=1)
  right = probabilities.argmax(axis=1) == labels
  true = np.take_along_axis(probabilities, labels[:, None], axis=1).squeeze(1)
  squares = (probabilities**2).sum(axis=1) - 2 * true + 1
  return Calibrated(
    **both_bins(np.minimum(confidence, 1), right, num_bins=num_bins),
    brier=float(squares.mean()),
    nll=float(-np.log(np.maximum(true, np.finfo(float).tiny)).mean()),
  )


def both_bins(
  confidence: Float[np.ndarray, "Q"],
  right: Bool[np.ndarray, "Q"],
  *,
  num_bins: int,
) -> dict[str, Bins]:
  """The bins of equal width and of equal numbers: see `reliability_bins`."""
  names = {"bins": False, "adaptive_bins": True}
  return {
    name: reliability_bins(
      confidence, right, num_bins=num_bins, adaptive=adaptive
    )
    for name, adaptive in names.items()
  }


def count_bins(near: Neighbors, labels: Int[Array, "Q"], *, k: int) -> Bins:
  """Accuracy of the plurality class by how many of k neighbors have it.

  One bin per count; confidence is count / k. The class met first wins ties,
  as in the published code.
  """
  share, labels = _plurality(near, labels, k)
  counts = np.rint(share.values.max(axis=1) * _voters(share)).astype(np.int64)
  return _bins(counts, counts / k, share.leaders() == labels, k + 1)


def entropy_bins(
  near: Neighbors,
  labels: Int[Array, "Q"],
  *,
  k: int,
  num_classes: int,
  width: float = 0.05,
  empirical_maximum: bool = False,
) -> Bins:
  """Accuracy of the plurality class by the entropy of the neighbors' labels.

  Confidence is 1 - H / H_max, in bins of this width that include their left
  ends; 1 has a bin of its own.

  Args:
    near: the neighbors.
    labels: true classes.
    k: how many neighbors.
    num_classes: C.
    width: of a bin.
    empirical_maximum: whether H_max is the largest entropy of these queries,
      as published, rather than log2(min(k, C)): what one query's confidence
      is then depends on all the others.
  """
  share, labels = _plurality(near, labels, k)
  values = share.values.astype(np.float64)
  # Adding a multiple of zero keeps log2 away from empty places.
  entropy = -(values * np.log2(values + (values == 0))).sum(axis=1)
  most = entropy.max() if empirical_maximum else np.log2(min(k, num_classes))
  confidence = np.clip(1 - entropy / most if most else entropy, 0, 1)
  places = np.floor(confidence / width + 1e-9).astype(np.int64)
  num_bins = round(1 / width) + 1
  return _bins(places, confidence, share.leaders() == labels, num_bins)


def _plurality(near, labels, k) -> tuple[Shares, np.ndarray]:
  """The plurality shares and labels of the labelled queries."""
  labels = np.asarray(labels)
  known = labels != UNLABELED
  near = near if known.all() else near.take(known)
  return shares(near, setting("plurality"), k=k), labels[known]


def _voters(share) -> np.ndarray:
  """How many of each query's neighbors have a label."""
  return (share.labels != UNLABELED).sum(axis=1)


def _bins(places, confidence, right, num_bins) -> Bins:
  """Means over the queries in each bin that has any."""
  counts = np.bincount(places, minlength=num_bins)
  full = counts > 0
  mean = lambda values: (
    np.bincount(places, values, minlength=num_bins)[full] / counts[full]
  )
  return Bins(
    confidence=mean(confidence), accuracy=mean(right), counts=counts[full]
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogFit:
  """accuracy(i) = slope * ln(i) + intercept, i = 1 for the nearest.

  Attributes:
    line: the fit, over x = ln(i).
    slope_error: standard error of the slope over queries. (The line's own
      takes the points for independent; they come from the same queries.)
    intercept_error: likewise, of the intercept.
  """

  line: Line
  slope_error: float
  intercept_error: float

  def at(self, places: Array) -> Float[np.ndarray, "n"]:
    """The fitted accuracy of these neighbors, counted from 1."""
    return self.line.at(np.log(np.asarray(places)))


def reliability(
  near: Neighbors, labels: Int[Array, "Q"]
) -> Float[np.ndarray, "k"]:
  """The fraction of labelled queries whose i-th neighbor has their class."""
  return _agrees(near, labels).mean(axis=0)


def hit_rate(
  near: Neighbors, labels: Int[Array, "Q"]
) -> Float[np.ndarray, "k"]:
  """The fraction of labelled queries with their class in the first k."""
  agrees = _agrees(near, labels)
  first = np.where(agrees.any(axis=1), agrees.argmax(axis=1), near.k)
  return np.bincount(first, minlength=near.k + 1)[:-1].cumsum() / len(agrees)


def fit_logarithm(near: Neighbors, labels: Int[Array, "Q"]) -> LogFit:
  """The logarithmic fit of the reliability.

  The fit is linear in the accuracies, hence a mean over queries, whose
  standard error is that of any mean.

  Raises:
    ValueError: fewer than two neighbors, or no labelled query.
  """
  agrees = _agrees(near, labels)
  x = np.log(np.arange(1, near.k + 1))
  line = fit_line(x, agrees.mean(axis=0))
  of_slope = (x - x.mean()) / line.spread_x
  slopes = agrees @ of_slope  # [Q]
  intercepts = agrees.mean(axis=1) - slopes * x.mean()
  count = np.sqrt(len(agrees))
  return LogFit(
    line=line,
    slope_error=float(slopes.std() / count),
    intercept_error=float(intercepts.std() / count),
  )


def _agrees(near, labels) -> Bool[np.ndarray, "labelled k"]:
  """Whether each neighbor of each labelled query has its class."""
  labels = np.asarray(labels)
  known = labels != UNLABELED
  if not known.any():
    raise ValueError("No query has a label: nothing can agree with it.")
  agrees = np.asarray(near.labels) == labels[:, None]
  return agrees if known.all() else agrees[known]
