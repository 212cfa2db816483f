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
    residual_std: standard deviation of y about the line.
    num_points: points fitted.
    mean_x: of the points; with spread_x, what `predict_error` needs.
    spread_x: sum of squared deviations of x.
  """

  slope: float
  intercept: float
  slope_error: float
  intercept_error: float
  r_squared: float
  residual_std: float
  num_points: int
  mean_x: float
  spread_x: float

  def at(self, x: Shaped[np.ndarray, "*n"] | float) -> Any:
    """The line's y."""
    return self.slope * np.asarray(x) + self.intercept

  def predict_error(self, x: Shaped[np.ndarray, "*n"] | float) -> Any:
    """Standard error of one more observation at x."""
    leverage = (np.asarray(x) - self.mean_x) ** 2 / self.spread_x
    return self.residual_std * np.sqrt(1 + 1 / self.num_points + leverage)


def fit_line(x: Shaped[np.ndarray, "n"], y: Shaped[np.ndarray, "n"]) -> Line:
  """The least-squares line through the points.

  Raises:
    ValueError: fewer than two different x, or values that are not finite.
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  if not (np.isfinite(x).all() and np.isfinite(y).all()):
    raise ValueError("A line needs finite points.")
  if len(np.unique(x)) < 2:
    raise ValueError(f"A line needs two different x; got {len(np.unique(x))}.")
  dx, dy = x - x.mean(), y - y.mean()
  spread = float(dx @ dx)
  slope = float(dx @ dy) / spread
  intercept = float(y.mean() - slope * x.mean())
  residuals = y - slope * x - intercept
  free = len(x) - 2
  variance = float(residuals @ residuals) / free if free else np.nan
  total = float(dy @ dy)
  return Line(
    slope=slope,
    intercept=intercept,
    slope_error=float(np.sqrt(variance / spread)),
    intercept_error=float(
      np.sqrt(variance * (1 / len(x) + x.mean() ** 2 / spread))
    ),
    r_squared=1 - float(residuals @ residuals) / total if total else 1.0,
    residual_std=float(np.sqrt(variance)),
    num_points=len(x),
    mean_x=float(x.mean()),
    spread_x=spread,
  )
