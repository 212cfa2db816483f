"""Straight lines by least squares, with their uncertainty."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Shaped


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """y = slope * x + intercept.

  Attributes:
    slope: change of y per x.
    intercept: y at x = 0.
    slope_error: standard error of the slope; None below three points.
    intercept_error: standard error of the intercept (likewise).
    r_squared: share of the variance of y that the line explains.
    num_points: points fitted.
    mean_x: of the points; with spread_x, what `predict_error` needs.
    spread_x: sum of squared deviations of x.
  """

  slope: float
  intercept: float
  slope_error: float | None
  intercept_error: float | None
  r_squared: float
  num_points: int
  mean_x: float
  spread_x: float

  def at(self, x: Shaped[np.ndarray, "*n"] | float) -> Any:
    """The line's y."""
    return self.slope * np.asarray(x) + self.intercept

  def predict_error(self, x: Shaped[np.ndarray, "*n"] | float) -> Any:
    """Standard error of one more observation at x; of three points or more."""
    away = (np.asarray(x) - self.mean_x) ** 2
    own = self.spread_x * (1 + 1 / self.num_points)
    return self.slope_error * np.sqrt(own + away)


def fit_line(x: Shaped[np.ndarray, "n"], y: Shaped[np.ndarray, "n"]) -> Line:
  """The least-squares line through the points.

  Raises:
    ValueError: fewer than two different x, or values that are not finite.
  """
  from scipy import stats

  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  if not (np.isfinite(x).all() and np.isfinite(y).all()):
    raise ValueError("A line needs finite points.")
  if len(np.unique(x)) < 2:
    raise ValueError(f"A line needs two different x; got {len(np.unique(x))}.")
  found = stats.linregress(x, y)
  enough, varies = len(x) > 2, bool(np.ptp(y))
  # Points that are all alike lie on their line: SciPy says NaN of its errors.
  error = lambda value: (float(value) if varies else 0.0) if enough else None
  return Line(
    slope=float(found.slope),
    intercept=float(found.intercept),
    slope_error=error(found.stderr),
    intercept_error=error(found.intercept_stderr),
    r_squared=float(found.rvalue) ** 2 if varies else 1.0,
    num_points=len(x),
    mean_x=float(x.mean()),
    spread_x=float(np.sum((x - x.mean()) ** 2)),
  )
