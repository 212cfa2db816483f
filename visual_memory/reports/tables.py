"""Tables as Markdown and CSV: accuracies in percent with one decimal.

sweep_table([{"voting.k": 1, "accuracy": 0.41}]).csv()
"""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from visual_memory.reports.formats import percent


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
