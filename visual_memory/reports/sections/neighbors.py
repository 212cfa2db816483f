"""Single neighbors: reliability, its fit, hit rate (figures 1, 11, 13)."""

from typing import Any

import numpy as np
from jaxtyping import Float

from visual_memory.analysis.reliability import LogFit
from visual_memory.reports import plots
from visual_memory.reports.formats import percent
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table

_SHOWN = (1, 2, 3, 5, 10, 20, 50, 100)


def reliability(curve: Float[np.ndarray, "k"], fit: LogFit) -> Section:
  """How often the i-th neighbor alone has the query's class."""
  places = np.arange(1, len(curve) + 1)
  in_percent = lambda values: dict(zip(places, 100 * values, strict=True))
  line = fit.line
  return Section(
    title="Reliability of the i-th neighbor",
    prose=(
      f"The fraction of test queries whose i-th neighbor has their class, and"
      f" the fit {percent(line.slope, digits=2)} ln(i)"
      f" {percent(line.intercept, digits=2, signed=True)}, in percent: standard"
      f" errors over queries {percent(fit.slope_error, digits=2)} and"
      f" {percent(fit.intercept_error, digits=2)}, R² {line.r_squared:.4f}.",
    ),
    figures=(
      Figure(
        name="reliability",
        svg=plots.curves(
          {"i-th neighbor": in_percent(curve)},
          fits={"logarithmic fit": in_percent(fit.at(places))},
          name="reliability",
          x_label="i, the neighbor's rank",
          y_label="accuracy of the i-th neighbor (%)",
        ),
      ),
      Figure(
        name="reliability_log",
        svg=plots.curves(
          {"i-th neighbor": in_percent(curve)},
          fits={"logarithmic fit": in_percent(fit.at(places))},
          name="reliability_log",
          x_label="i, the neighbor's rank (log axis: the fit is straight)",
          y_label="accuracy of the i-th neighbor (%)",
          x_log=True,
        ),
      ),
    ),
  )


def hit_rate(hits: Float[np.ndarray, "k"]) -> Section:
  """How often the query's class is among the first k neighbors."""
  return Section(
    title="Hit rate",
    prose=(
      "The fraction of test queries whose class is among the first k"
      " neighbors: what no vote or re-ranking over them can exceed.",
    ),
    figures=(
      Figure(
        name="hit_rate",
        svg=plots.curves(
          {"hit rate": {k: 100 * hit for k, hit in enumerate(hits, 1)}},
          name="hit_rate",
          x_label="k, neighbors looked at",
          y_label="class among them (%)",
          x_log=True,
        ),
      ),
    ),
    tables=(
      Table(
        header=("k", "hit rate (%)"),
        rows=tuple(
          (str(k), percent(hits[k - 1], digits=2))
          for k in _SHOWN
          if k <= len(hits)
        ),
        name="hit_rate",
      ),
    ),
  )


def values(
  curve: Float[np.ndarray, "k"], fit: LogFit, hits: Float[np.ndarray, "k"]
) -> dict[str, Any]:
  """All of it for report.json."""
  return {
    "reliability": curve,
    "reliability_fit": {
      "slope": fit.line.slope,
      "intercept": fit.line.intercept,
      "slope_error": fit.slope_error,
      "intercept_error": fit.intercept_error,
      "r_squared": fit.line.r_squared,
    },
    "hit_rate": hits,
  }
