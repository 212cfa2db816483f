"""Tables and numbers as people read them: every percentage is made here.

  sweep_table([{"voting.k": 1, "accuracy": 0.41}]).csv()
  percent(0.4481)                  # 44.8
  interval(scored.accuracy)        # 44.8 (43.9 to 45.8)
  change(difference.interval)      # +0.21 (-0.10 to +0.53)
  p_value(0.0004)                  # < 0.001

Arguments are fractions. What is not there (None, or NaN) is a dash.
"""

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from visual_memory.analysis.intervals import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """Rows of text under a header; every row is as long as the header.

  Attributes:
    header: the columns' names.
    rows: of cells.
    caption: what the table shows, for pages.
    name: of its file, for pages; without one there is no file.
    text: whether all columns hold words rather than numbers.
    marks: what is remarkable about a cell, {(row, column): words}: of "best",
      "chosen", "up" and "down".
    pictures: of the rows, uint8 [H, W, 3] or None each; () for no pictures.
    links: where the first cell of each row leads; () for no links.
  """

  header: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]
  caption: str = ""
  name: str = ""
  text: bool = False
  marks: Mapping[tuple[int, int], str] = dataclasses.field(default_factory=dict)
  pictures: Sequence[UInt8[np.ndarray, "H W 3"] | None] = ()
  links: Sequence[str] = ()

  def markdown(self) -> str:
    """The table in Markdown; every column but the first is right-aligned."""
    marks = ["---"] + ["---:"] * (len(self.header) - 1)
    lines = [
      "| " + " | ".join(map(_in_markdown, row)) + " |"
      for row in (self.header, tuple(marks), *self.rows)
    ]
    return "\n".join(lines) + "\n"

  def csv(self) -> str:
    """The table as comma-separated values, quoted where needed."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([self.header, *self.rows])
    return buffer.getvalue()


def sweep_table(
  records: Sequence[Mapping[str, Any]], *, fractions: Sequence[str] = ()
) -> Table:
  """One row per record, one column per key in order of first appearance.

  Args:
    records: what was set and what came out, by name.
    fractions: the keys whose values are fractions, written in percent.
  """
  header = tuple(dict.fromkeys(key for record in records for key in record))
  show = lambda key, value: (
    percent(value) if key in fractions and value is not None else _number(value)
  )
  return Table(
    header=tuple(f"{key} (%)" if key in fractions else key for key in header),
    rows=tuple(
      tuple(show(key, record.get(key)) for key in header) for record in records
    ),
  )


def _number(value: Any) -> str:
  """A value in a cell: floats to six digits, None as nothing."""
  if value is None:
    return ""
  return f"{value:.6g}" if isinstance(value, float) else str(value)


def _in_markdown(cell: str) -> str:
  """A cell that breaks neither the row nor the table."""
  return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


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
