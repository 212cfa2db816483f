"""Wrong labels (figure 10) and growing memories (figure 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory.analysis.growth import GrowthPoint, ScalingLaw
from visual_memory.analysis.label_noise import NoiseCurve
from visual_memory.reports import plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent, spread

_TITLES = {
  "log": "power law in log N (as published)",
  "power": "power law in N",
}


def noise(kind: str, found: Mapping[str, NoiseCurve]) -> Section:
  """One kind of noise: every voter against the corrupted fraction."""
  some = next(iter(found.values()))
  shown = [i for i, f in enumerate(some.fractions) if round(10 * f) % 2 == 0]
  return Section(
    title=f"{kind.capitalize()} label noise",
    finding=_noise_finding(kind, found),
    figures=(
      Figure.of(
        plots.curves,
        {name: _over_seeds(curve) for name, curve in found.items()},
        name=f"noise_{kind}",
        caption=f"Mean and range over {len(some.accuracy)} seeds; k chosen on"
        " tuning rows, whose labels are as wrong.",
        bands={name: _spread(curve) for name, curve in found.items()},
        x_label="labels drawn anew (%)",
        y_label="test accuracy (%)",
      ),
    ),
    tables=(
      Table(
        header=(
          "voter", *(f"{percent(some.fractions[i], digits=0)} %" for i in shown)
        ),
        rows=tuple(
          (name, *(spread(curve.accuracy[:, i]) for i in shown))
          for name, curve in found.items()
        ),
        caption="Test accuracy in percent, mean ± standard deviation over"
        " seeds, by the fraction of labels drawn anew.",
        name=f"noise_{kind}",
      ),
    ),
  )  # fmt: skip


def _noise_finding(kind, found) -> str:
  """The voter that bears most noise best, at most, at half and at least."""
  total = {name: float(c.accuracy.mean()) for name, c in found.items()}
  best = max(total, key=total.get)
  curve = found[best]
  middle = int(np.argmin(np.abs(np.array(curve.fractions) - 0.5)))
  places = sorted({0, middle, len(curve.fractions) - 1})
  told = [
    f"{percent(curve.accuracy[:, i].mean())} % with"
    f" {percent(curve.fractions[i], digits=0)} %"
    for i in places
  ]
  return (
    f"{kind.capitalize()} noise: the {best} vote is right for {told[0]} of the"
    f" labels wrong{''.join(f', {one}' for one in told[1:])}."
  )


def noise_values(found: Mapping[str, NoiseCurve]) -> dict[str, Any]:
  """One kind of noise for report.json."""
  return {name: vars(curve) for name, curve in found.items()}


def growth(
  points: Mapping[str, Sequence[GrowthPoint]],
  laws: Mapping[str, Mapping[str, ScalingLaw]],
  misses: Mapping[str, Mapping[str, float | None]],
  *,
  far: Sequence[float],
) -> Section:
  """Error against memory size, with laws and where they lead.

  Args:
    points: by voter, of all seeds.
    laws: by voter, then by form.
    misses: by voter and form: relative error at the largest memory of a fit
      to those of up to a tenth of it; None where there are too few.
    far: sizes to extrapolate to.
  """
  return Section(
    title="Error against the size of the memory",
    finding=_growth_finding(points, laws),
    prose=(
      "Nested subsets of the memory, as many rows of each class, and last the"
      " full memory. Each point is the mean over seeds, and counts once in the"
      " fits: seeds share queries and rows. k is chosen on tuning rows, which"
      " the full memory alone holds, each left out of its own neighbors. The"
      " published fit is a power law in log N.",
    ),
    figures=tuple(
      _growth_figure(name, points[name], laws[name]) for name in points
    ),
    tables=(
      Table(
        header=("rows", *points),
        rows=tuple(
          (
            f"{size:,}",
            *(
              spread(
                np.array([1 - p.accuracy for p in ps if p.num_rows == size])
              )
              for ps in points.values()
            ),
          )
          for size in sorted({p.num_rows for ps in points.values() for p in ps})
        ),
        caption="Test error in percent, mean ± standard deviation over seeds.",
        name="growth",
      ),
      Table(
        header=(
          "voter", "form", "exponent", "log10 factor", "R²",
          "miss from a tenth (%)",
          *(f"error at {size:,.0f} rows (%), 95 %" for size in far),
        ),
        rows=tuple(
          (
            name,
            _TITLES[form],
            _with_error(law.line.slope, law.line.slope_error),
            _with_error(law.line.intercept, law.line.intercept_error),
            f"{law.line.r_squared:.4f}",
            percent(misses[name][form], signed=True),
            *(_far(law, size) for size in far),
          )
          for name, forms in laws.items()
          for form, law in forms.items()
        ),
        caption="Miss: a law fitted to memories of up to a tenth of the"
        " largest, against what the largest really does, relative.",
        name="laws",
      ),
    ),
  )  # fmt: skip


def growth_values(points, laws, misses) -> dict[str, Any]:
  """Growth for report.json."""
  return {
    name: {
      "points": [vars(point) for point in points[name]],
      "laws": {
        form: {
          "exponent": law.line.slope,
          "exponent_error": law.line.slope_error,
          "log10_factor": law.line.intercept,
          "log10_factor_error": law.line.intercept_error,
          "r_squared": law.line.r_squared,
          "relative_miss_from_a_tenth": misses[name][form],
        }
        for form, law in laws[name].items()
      },
    }
    for name in points
  }


def _growth_figure(name, points, laws):
  """One voter's points, with its laws up to ten times the largest memory."""
  sizes = np.array(sorted({point.num_rows for point in points}))
  means = {
    size: 100 * np.mean([1 - p.accuracy for p in points if p.num_rows == size])
    for size in sizes
  }
  reach = np.geomspace(sizes[0], 10 * sizes[-1], 40)
  lines = {
    _TITLES[form]: dict(zip(reach, 100 * law.error_at(reach), strict=True))
    for form, law in laws.items()
  }
  bands = {}
  if "log" in laws and laws["log"].line.num_points > 2:
    low, high = laws["log"].interval_at(reach, coverage=0.95)
    bands[_TITLES["log"]] = {
      size: (100 * a, 100 * b)
      for size, a, b in zip(reach, low, high, strict=True)
    }
  return Figure.of(
    plots.curves,
    {f"{name} vote": means},
    name=f"growth_{name}",
    caption="Shaded: 95 % interval of one more size, if the power law in log N"
    " is right.",
    fits=lines,
    fit_bands=bands,
    x_label="rows of the memory, N",
    y_label="test error (%)",
    x_log=True,
    y_log=any(means.values()),
  )


def _with_error(value, error) -> str:
  """A coefficient with its standard error, where there is one."""
  return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def _growth_finding(points, laws) -> str:
  """How far the error fell, by the voter that ends lowest."""
  mean = lambda found, size: np.mean(
    [1 - p.accuracy for p in found if p.num_rows == size]
  )
  ends = {
    name: (min(sizes), max(sizes))
    for name, found in points.items()
    if (sizes := {p.num_rows for p in found})
  }
  best = min(ends, key=lambda name: mean(points[name], ends[name][1]))
  first, last = ends[best]
  text = (
    f"The error of the {best} vote falls from"
    f" {percent(mean(points[best], first))} % with {first:,} rows to"
    f" {percent(mean(points[best], last))} % with {last:,}."
  )
  if laws[best]:
    slope = laws[best]["power"].line.slope
    text += f" As a power of the rows: N to the {slope:.2f}."
  else:
    text += " No law is fitted: too few sizes have errors."
  return text


def _far(law, size) -> str:
  """An extrapolated error with its interval."""
  if law.line.num_points < 3:
    return percent(law.error_at(size))
  low, high = law.interval_at(size, coverage=0.95)
  return f"{percent(law.error_at(size))} ({percent(low)} to {percent(high)})"


def _over_seeds(curve):
  """The mean over seeds in percent."""
  return {
    100 * f: 100 * value
    for f, value in zip(
      curve.fractions, curve.accuracy.mean(axis=0), strict=True
    )
  }


def _spread(curve):
  """The range over seeds in percent."""
  low, high = curve.accuracy.min(axis=0), curve.accuracy.max(axis=0)
  return {
    100 * f: (100 * a, 100 * b)
    for f, a, b in zip(curve.fractions, low, high, strict=True)
  }
