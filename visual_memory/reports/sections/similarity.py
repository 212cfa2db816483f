"""Agreement with which of two pictures is closer, as sections of a page."""

from typing import Any

from visual_memory.analysis.two_afc import Agreement, Comparison
from visual_memory.reports import plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent


def sections(found: Comparison) -> tuple[Section, ...]:
  """One section: a table, and a curve or bars by group."""
  names = list(found.overall)
  groups = list(found.by_group[names[0]])
  rows = tuple(
    (
      name,
      _cell(found.overall[name]),
      f"{found.overall[name].standard_error * 100:.1f}",
      _p_value(found, name),
      *(percent(found.by_group[name][group].accuracy) for group in groups),
    )
    for name in names
  )
  header = ("similarity", "agreement", "+-", f"p against {names[0]}", *groups)
  return (
    Section(
      title="Which of two is closer",
      prose=(
        "Agreement in percent with the answers, with exact 95 % intervals; +-"
        " is the standard error as published. p: exact paired test on the same"
        " questions. Then by group (of made questions: the gap of the levels).",
      ),
      tables=(Table(header=header, rows=rows, name="agreement"),),
      figures=(Figure(name="by_group", svg=_by_group(found, groups)),),
    ),
  )


def tiles(found: Comparison) -> dict[str, str]:
  """The agreement of every similarity."""
  return {
    name: f"{percent(one.accuracy)} %" for name, one in found.overall.items()
  }


def values(found: Comparison) -> dict[str, Any]:
  """Every number."""
  return {
    "agreement": {name: _values(one) for name, one in found.overall.items()},
    "by_group": {
      name: {group: _values(one) for group, one in groups.items()}
      for name, groups in found.by_group.items()
    },
    "p_values": found.p_values,
  }


def _by_group(found: Comparison, groups: list[str]) -> str:
  series = {
    name: {
      group: 100 * by_group[group].accuracy for group in groups
    }
    for name, by_group in found.by_group.items()
  }  # fmt: skip
  return plots.bars(
    series, name="by_group", y_label="agreement (%)", x_label="group",
    y_range=(40, 100),
  )  # fmt: skip


def _cell(one: Agreement) -> str:
  low, high = percent(one.low), percent(one.high)
  return f"{percent(one.accuracy)} [{low}, {high}]"


def _p_value(found: Comparison, name: str) -> str:
  if name not in found.p_values:
    return ""
  p_value = found.p_values[name]
  return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _values(one: Agreement) -> dict[str, float]:
  return {
    "accuracy": one.accuracy,
    "low": one.low,
    "high": one.high,
    "standard_error": one.standard_error,
    "count": one.count,
  }
