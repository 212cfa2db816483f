"""Single neighbors: reliability, its fit, hit rate (figures 1, 11, 13)."""

from typing import Any

import numpy as np
from jaxtyping import Float

from visual_memory.analysis.calibration import LogFit
from visual_memory.reports import plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import percent


def reliability(
  curve: Float[np.ndarray, "k"],
  fit: LogFit | None,
  hits: Float[np.ndarray, "k"],
) -> Section:
  """How often the i-th neighbor alone has the query's class, or one of k.

  Args:
    curve: from `analysis.reliability.reliability`.
    fit: None where there is one neighbor alone.
    hits: from `analysis.reliability.hit_rate`.
  """
  places = np.arange(1, len(curve) + 1)
  fits = {"logarithmic fit": _in_percent(fit.at(places))} if fit else {}
  alone = lambda name, **axes: Figure.of(
    plots.curves,
    {"i-th neighbor": _in_percent(curve)},
    fits=fits,
    name=name,
    y_label="accuracy of the i-th neighbor (%)",
    **axes,
  )
  told = "The fraction of test queries whose i-th neighbor has their class."
  if fit:
    told += (
      f" The fit: {percent(fit.line.slope, digits=2)} ln(i)"
      f" {percent(fit.line.intercept, digits=2, signed=True)}, in percent;"
      f" standard errors over queries {percent(fit.slope_error, digits=2)} and"
      f" {percent(fit.intercept_error, digits=2)},"
      f" R² {fit.line.r_squared:.4f}."
    )
  reached = (
    f"Hit rate: the class is among the first {len(hits)} of"
    f" {percent(hits[-1])} % of the queries, which no vote or re-ranking over"
    " them can exceed."
  )
  return Section(
    title="Reliability of the i-th neighbor",
    finding=(
      f"The nearest row has the query's class in {percent(curve[0])} % of the"
      f" test queries, the one at rank {len(curve)} in {percent(curve[-1])} %."
    ),
    prose=(told, reached),
    figures=(
      alone("reliability", x_label="i, the neighbor's rank"),
      alone(
        "reliability_log",
        x_label="i, the neighbor's rank (log axis: the fit is straight)",
        x_log=True,
      ),
      Figure.of(
        plots.curves,
        {"hit rate": _in_percent(hits)},
        name="hit_rate",
        x_label="k, neighbors looked at",
        y_label="class among them (%)",
        x_log=True,
      ),
    ),
  )


def _in_percent(values: np.ndarray) -> dict[int, float]:
  """Values by rank, from 1."""
  return {k: 100 * value for k, value in enumerate(values, start=1)}


def values(
  curve: Float[np.ndarray, "k"],
  fit: LogFit | None,
  hits: Float[np.ndarray, "k"],
) -> dict[str, Any]:
  """All of it for report.json."""
  return {
    "reliability": curve,
    "reliability_fit": fit
    and {
      "slope": fit.line.slope,
      "intercept": fit.line.intercept,
      "slope_error": fit.slope_error,
      "intercept_error": fit.intercept_error,
      "r_squared": fit.line.r_squared,
    },
    "hit_rate": hits,
  }
