"""The same question asked of several encoders: one figure for all of them."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from visual_memory.reports import plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlay:
  """One figure.

  Attributes:
    name: of the figure; unique on its page.
    lines: by encoder, {x: y}.
    x_label: what x is, with its unit.
    y_label: what y is, with its unit.
    x_log: whether x is on a log axis.
    y_log: whether y is.
    caption: below it.
  """

  name: str
  lines: Mapping[str, Mapping[Any, Any]]
  x_label: str
  y_label: str
  x_log: bool = False
  y_log: bool = False
  caption: str = ""


def sections(
  overlays: Sequence[Overlay],
  *,
  prose: Sequence[str] = ("All that follows is of the first encoder.",),
  tables: Sequence[Table] = (),
) -> list[Section]:
  """The section of all encoders; none where there is one encoder alone."""
  if len(overlays[0].lines) < 2:
    return []
  return [
    Section(
      title="Encoders compared",
      prose=tuple(prose),
      tables=tuple(tables),
      figures=tuple(
        Figure.of(
          plots.curves,
          overlay.lines,
          name=f"encoders_{overlay.name}",
          caption=overlay.caption,
          x_label=overlay.x_label,
          y_label=overlay.y_label,
          x_log=overlay.x_log,
          y_log=overlay.y_log,
        )
        for overlay in overlays
        if any(overlay.lines.values())
      ),
    )
  ]


def by_place(
  values: Iterable[float], *, scale: float = 100
) -> dict[int, float]:
  """{1: first, 2: second, ...}, in percent by default."""
  return {place: scale * float(x) for place, x in enumerate(values, 1)}


MIN_QUERIES = 10
"""Queries of a bin that is drawn: the accuracy of fewer says nothing."""


def of_bins(bins: Mapping[str, Any]) -> dict[float, float]:
  """{confidence: accuracy} in percent, of bins with enough queries.

  Args:
    bins: the attributes of `calibration.Bins` by name.
  """
  return {
    100 * float(confidence): 100 * float(accuracy)
    for confidence, accuracy, count in zip(
      bins["confidence"], bins["accuracy"], bins["counts"], strict=True
    )
    if count >= MIN_QUERIES
  }
