"""How far a single neighbor can be relied on, by its rank.

  curve = reliability(near, labels)      # of the i-th neighbor alone, [k]
  fit = fit_logarithm(near, labels)      # accuracy = a ln(i) + b
  hits = hit_rate(near, labels)          # the class is among the first k, [k]

Reference: Geirhos et al., ICML 2025, figures 1, 11 and 13; the published fit
is least squares over i = 1..100 with accuracies in [0, 1].
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from visual_memory.analysis.intervals import Line, fit_line
from visual_memory.types import UNLABELED, Array, Neighbors


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
