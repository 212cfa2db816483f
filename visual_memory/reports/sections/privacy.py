"""Privacy on a page: who can be told from the answers, at which accuracy."""

from collections.abc import Sequence
from typing import Any

from visual_memory.analysis.influence import Privacy
from visual_memory.reports import plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent

_PROSE = (
  "A row is private if removing it changes no answer to any query. Counted"
  " are the other rows, exactly: for each query and each of its k neighbors,"
  " the vote without that neighbor and with the next one in its stead.",
  "Harmful rows turn a right answer wrong by being there (removing them"
  " corrects it), helpful rows the other way round; swaying rows change one"
  " wrong answer for another, or one to a query without a label. A row can be"
  " several of these, to different queries. Published percentages count the"
  " harmful rows alone.",
)


def sections(found: Sequence[Privacy]) -> tuple[list[Section], dict[str, Any]]:
  """The section of a page and the values for report.json.

  Args:
    found: from `privacy_curve`.
  """
  lines = {}
  for item in found:
    line = lines.setdefault(item.name, {})
    line[item.k] = 100 * item.non_private
  share = lambda count, item: percent(count / item.num_rows, digits=3)
  table = Table(
    header=(
      "voter", "k", "accuracy (%)", "non-private rows", "of rows (%)",
      "helpful (%)", "harmful (%)", "swaying (%)",
    ),
    rows=tuple(
      (
        item.name,
        str(item.k),
        percent(item.accuracy),
        f"{item.num_non_private:,}",
        *(
          share(count, item)
          for count in (
            item.num_non_private, item.num_helpful, item.num_harmful,
            item.num_swaying,
          )
        ),
      )
      for item in found
    ),
    name="privacy",
  )  # fmt: skip
  figures = (
    Figure.of(
      plots.curves,
      lines,
      name="privacy",
      x_label="neighbors that vote (k)",
      y_label="non-private rows (%)",
      x_log=True,
    ),
  )
  section = Section(
    title="Rows that can be told from the answers",
    finding=_finding(found),
    prose=_PROSE,
    tables=(table,),
    figures=figures,
  )
  values = {
    "privacy": [
      {
        "voter": item.name,
        "k": item.k,
        "accuracy": item.accuracy,
        "non_private": item.non_private,
        "harmful_fraction": item.num_harmful / item.num_rows,
        "num_rows": item.num_rows,
        "num_non_private": item.num_non_private,
        "num_helpful": item.num_helpful,
        "num_harmful": item.num_harmful,
        "num_swaying": item.num_swaying,
      }
      for item in found
    ]
  }
  return [section], values


def _finding(found: Sequence[Privacy]) -> str:
  """The most accurate vote, and what it gives away."""
  best = max(found, key=lambda item: item.accuracy or 0)
  return (
    f"The most accurate vote ({best.name}, k = {best.k}:"
    f" {percent(best.accuracy)} %) can tell of"
    f" {percent(best.non_private, digits=2)} % of the {best.num_rows:,} rows"
    " whether they are there; the answers of all queries would be the same"
    " without any one of the others."
  )
