"""Agreement with which of two pictures is closer, as sections of a page."""

from typing import Any

from visual_memory.analysis.two_afc import Agreement, Comparison
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent


def sections(found: Comparison) -> tuple[Section, ...]:
  """One section: a table, and a curve or bars by group."""
  names = list(found.overall)
  groups = list(found.by_group[names[0]])
  rows = tuple(
    (
      name,
      tables.interval(found.overall[name].accuracy),
      percent(found.overall[name].standard_error),
      tables.p_value(found.p_values[name]) if name in found.p_values else "",
      *(percent(found.by_group[name][group].accuracy.mean) for group in groups),
    )
    for name in names
  )
  header = ("similarity", "agreement", "+-", f"p against {names[0]}", *groups)
  return (
    Section(
      title="Which of two is closer",
      finding=_finding(found),
      prose=(
        "Agreement in percent with the answers, with exact 95 % intervals; +-"
        " is the standard error as published. p: exact paired test on the same"
        " questions. Then by group (of made questions: the gap of the levels).",
        "Of made questions the picture that is distorted less is the answer,"
        " which measures of pixels see as it is: they are no rivals there. It"
        " is what people answered that tells encoders apart.",
      ),
      tables=(Table(header=header, rows=rows, name="agreement"),),
      figures=(Figure(name="by_group", svg=_by_group(found, groups)),),
    ),
  )


def tiles(found: Comparison) -> dict[str, str]:
  """The agreement of every similarity, the best first."""
  share = lambda item: -item[1].accuracy.mean
  return {
    name: f"{percent(one.accuracy.mean)} %"
    for name, one in sorted(found.overall.items(), key=share)
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
      group: tables.span(by_group[group].accuracy) for group in groups
    }
    for name, by_group in found.by_group.items()
  }  # fmt: skip
  return plots.bars(
    series, name="by_group", y_label="agreement (%)", x_label="group",
  )  # fmt: skip


def _values(one: Agreement) -> dict[str, Any]:
  return {
    "accuracy": vars(one.accuracy),
    "standard_error": one.standard_error,
    "count": one.count,
  }


def _finding(found: Comparison) -> str:
  """The similarity that agrees most often."""
  best = max(found.overall, key=lambda name: found.overall[name].accuracy.mean)
  one = found.overall[best]
  return (
    f"Of {one.count:,} answers {best} agrees with the most,"
    f" {tables.share(one.accuracy)}."
  )
