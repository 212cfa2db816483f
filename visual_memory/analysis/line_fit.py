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
    slope_error: standard error of the slope (NaN below three points).
    intercept_error: standard error of the intercept (likewise).
    r_squared: share of the variance of y that the line explains.
    num_points: points fitted.
    mean_x: of the points; with spread_x, what `predict_error` needs.
    spread_x: sum of squared deviations of x.
  """

  slope: float
  intercept: float
  slope_error: float
  intercept_error: float
  r_squared: float
  num_points: int
  mean_x: float
  spread_x: float

  def at(self, x: Shaped[np.ndarray, "*n"] | float) -> Any:
    """The line's y."""
    return self.slope * np.asarray(x) + self.intercept

  def predict_error(self, x: Shaped[np.ndarray, "*n"] | float) -> Any:
    """Standard error of one more observation at x."""
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
  enough = len(x) > 2
  return Line(
    slope=float(found.slope),
    intercept=float(found.intercept),
    slope_error=float(found.stderr) if enough else np.nan,
    intercept_error=float(found.intercept_stderr) if enough else np.nan,
    r_squared=float(found.rvalue) ** 2 if np.ptp(y) else 1.0,
    num_points=len(x),
    mean_x=float(x.mean()),
    spread_x=float(np.sum((x - x.mean()) ** 2)),
  )
