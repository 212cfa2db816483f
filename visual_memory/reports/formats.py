"""Numbers as people read them: every percentage of a page is made here.

  percent(0.4481)                  # 44.8
  interval(scored.accuracy)        # 44.8 (43.9 to 45.8)
  change(difference.interval)      # +0.21 (-0.10 to +0.53)
  p_value(0.0004)                  # < 0.001

Arguments are fractions. What is not there (None, or NaN) is a dash.
"""

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

from visual_memory.analysis.intervals import Interval

NONE = "–"
"""Stands where there is no number."""


def percent(
  fraction: float | int | np.number | None,
  *,
  digits: int = 1,
  signed: bool = False,
) -> str:
  """A fraction in percent."""
  if fraction is None or math.isnan(fraction):
    return NONE
  sign = "+" if signed else ""
  return f"{100 * fraction:{sign}.{digits}f}"


def or_none(values: Iterable[float | np.number]) -> list[float | None]:
  """The same for a report.json: what is not a number is None."""
  return [float(x) if math.isfinite(x) else None for x in values]


def interval(found: Interval, *, digits: int = 1) -> str:
  """An estimate and the ends of its interval, in percent."""
  mean, low, high = (
    percent(value, digits=digits)
    for value in (found.mean, found.low, found.high)
  )
  return f"{mean} ({low} to {high})"


def share(found: Interval, *, digits: int = 1) -> str:
  """The same in a sentence: 44.8 % (43.9 to 45.8)."""
  mean, rest = interval(found, digits=digits).split(" ", 1)
  return f"{mean} % {rest}"


def change(found: Interval, *, digits: int = 2) -> str:
  """A difference with its interval, in points, signed."""
  mean, low, high = (
    percent(value, digits=digits, signed=True)
    for value in (found.mean, found.low, found.high)
  )
  return f"{mean} ({low} to {high})"


def p_value(value: float | int | None) -> str:
  """A p-value to three digits."""
  if value is None or math.isnan(value):
    return NONE
  return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_words(value: float | int | None) -> str:
  """The same in a sentence: p = 0.250, or p < 0.001."""
  text = p_value(value)
  return f"p {text}" if text.startswith("<") else f"p = {text}"


def spread(values: Sequence[float] | np.ndarray) -> str:
  """Mean in percent, and the standard deviation (N - 1) of several."""
  if len(values) < 2:
    return percent(np.mean(values) if len(values) else None)
  return f"{percent(np.mean(values))} ± {percent(np.std(values, ddof=1))}"


def span(found: Interval) -> tuple[float, float, float]:
  """(mean, low, high) in percent, for figures."""
  return 100 * found.mean, 100 * found.low, 100 * found.high


def file_name(name: str) -> str:
  """A name that a file can bear."""
  return re.sub(r"[^A-Za-z0-9.-]+", "_", name).lower()
