"""A planted bias on a page: who is misled, before and after it is removed."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from visual_memory.analysis.intervals import bootstrap_mean, paired
from visual_memory.analysis.pruned_votes import Pruned
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.sections.attribution import pictured
from visual_memory.reports.tables import Table, percent

_SHOWN = 12


def sections(
  found: Mapping[str, Pruned],
  *,
  voter: str,
  name: str,
  label: int,
  labels: np.ndarray,
  marked: np.ndarray,
  planted: np.ndarray,
  counts: np.ndarray,
  ids: np.ndarray,
  row_image: Callable[[str], np.ndarray | None],
  links: Mapping[str, str],
  seed: int,
) -> tuple[list[Section], dict[str, Any], dict[str, str]]:
  """The sections of a page, the values for report.json, and the tiles.

  Args:
    found: by treatment; "before" comes first.
    voter: whose answers these are.
    name: of the class that the mark speaks for.
    label: its label.
    labels: of the queries, [Q]; those without one are not scored.
    marked: the queries with the mark, [Q].
    planted: the rows with the mark, [N].
    counts: how often each row was retrieved for another class, [N].
    ids: of the rows, [N].
    row_image: from a row's id to its picture.
    links: to what was written beside the page.
    seed: of the bootstrap.
  """
  known = labels >= 0
  groups = {"marked": marked[known], "not marked": ~marked[known],
            "all": np.ones(int(known.sum()), bool)}  # fmt: skip
  groups = {group: mask for group, mask in groups.items() if mask.any()}
  before, values = found["before"], {}
  for kind, one in found.items():
    removed = one.treatment.excluded
    removed = np.zeros(len(ids), bool) if removed is None else removed
    right = one.scored.right
    told = (one.scored.predictions == label)[marked]
    values[kind] = {
      "k": one.k,
      "treatment": one.treatment.name,
      "rows_removed": int(removed.sum()),
      "planted_among_removed": _share(planted[removed]),
      "planted_removed": _share(removed[planted]),
      "marked_told_the_class": _share(told),
      "accuracy": {
        group: vars(bootstrap_mean(right[mask], seed=seed))
        for group, mask in groups.items()
      },
      "change": {
        group: paired(
          right[mask], before.scored.right[mask], seed=seed
        ).values()
        for group, mask in groups.items()
      },
    }
  change = lambda kind, group: paired(
    found[kind].scored.right[groups[group]],
    before.scored.right[groups[group]], seed=seed,
  )  # fmt: skip
  table = Table(
    header=(
      "rows removed", "how many", "planted (%)", "of all planted (%)",
      f"marked told {name} (%)", *(f"{group} (%)" for group in groups),
      "change, marked (points)", "p",
    ),
    rows=tuple(
      (
        "none" if kind == "before" else kind,
        f"{one['rows_removed']:,}",
        percent(one["planted_among_removed"]),
        percent(one["planted_removed"]),
        percent(one["marked_told_the_class"]),
        *(percent(one["accuracy"][group]["mean"]) for group in groups),
        *(("", "") if kind == "before" or "marked" not in groups else (
            tables.change(change(kind, "marked").interval),
            tables.p_value(change(kind, "marked").p_value))),
      )
      for kind, one in values.items()
    ),
    caption="Accuracy of marked, other and all queries. The change is of the"
    " same queries, with a 95 % interval and McNemar's exact test. The last two"
    " lines are for comparison.",
    name="debiasing",
  )  # fmt: skip
  order = np.argsort(-counts, kind="stable")[:_SHOWN]
  order = order[counts[order] > 0]
  parts = [
    Section(
      title="A bias, found and removed",
      finding=_finding(values, groups, name),
      prose=(
        f"{int(planted.sum()):,} rows of the class {name} bear a mark, as do"
        f" {int(marked.sum()):,} queries of other classes: the mark speaks for"
        f" {name}. Rows are counted that are retrieved for tuning rows of"
        " another class; from which count on they are removed is chosen on"
        f" other tuning rows, for the {voter} vote.",
      ),
      tables=(table,),
      links=links,
      figures=(
        Figure.of(
          plots.intervals,
          {
            kind: {g: tables.span(change(kind, g).interval) for g in groups}
            for kind in found
            if kind != "before"
          },
          name="debiasing",
          caption="By group of queries, with 95 % intervals.",
          order=list(groups),
          x_label="change of accuracy by the removal (points)",
          zero=True,
        ),
      ) * (len(found) > 1),
    ),
    Section(
      title="The rows that mislead most",
      tables=(
        Table(
          header=("row", "retrieved for another class", "bears the mark"),
          rows=tuple(
            (str(ids[row]), f"{counts[row]:,}", "yes" if planted[row] else "no")
            for row in order
          ),
          pictures=pictured(row_image, ids[order]),
          name="biased_rows",
        ),
      ),
    ),
  ]  # fmt: skip
  tiles = {
    f"{kind}: marked queries told {name}": percent(
      one["marked_told_the_class"]
    ) + " %"
    for kind, one in values.items()
    if one["marked_told_the_class"] is not None
  }  # fmt: skip
  return parts, {"debiasing": values, "voter": voter}, tiles


def _share(values: np.ndarray) -> float | None:
  """The fraction that is true; None of nothing."""
  return float(values.mean()) if len(values) else None


def _finding(values, groups, name) -> str:
  """What the removal of what was found did to those it had misled."""
  kinds = [kind for kind in values if kind != "before"]
  if not kinds or "marked" not in groups:
    return "Nothing was found that could be removed."
  first, kind = values["before"], kinds[0]
  after = values[kind]
  share = lambda one: percent(one["marked_told_the_class"])
  return (
    f"Of the marked queries {share(first)} % are told {name}; with"
    f" {after['rows_removed']:,} rows removed,"
    f" {percent(after['planted_among_removed'])} % of them planted, it is"
    f" {share(after)} %, and"
    f" {percent(after['accuracy']['marked']['mean'])} % of the marked queries"
    f" are right (before: {percent(first['accuracy']['marked']['mean'])} %)."
  )
