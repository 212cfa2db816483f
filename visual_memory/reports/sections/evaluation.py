"""An evaluation on a page: accuracy by voter and k, by class, what is confused.

  page.Page(
    sections=evaluation.sections(found, gallery=items),
    tiles=evaluation.tiles(found),
    notes=evaluation.notes(found), ...
  )

`values` is the same for report.json: `accuracy[voter][str(k)]` (fractions) of
the main query set, that of others under `query_sets[name]`, and the edits.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.analysis.intervals import exact_share
from visual_memory.reports import figures, plots, tables
from visual_memory.reports.gallery import GalleryItem
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.results import Results, most_confused
from visual_memory.reports.tables import Table, percent

_MOST_CLASSES = 40
"""Of which a confusion matrix can be read."""
_CONFUSED_SHOWN = 8
_CONFUSED_KEPT = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit:
  """One change of the memory, and what it did to the accuracy.

  Attributes:
    name: what was done, such as "add the classes 8 and 9".
    rows_before: rows of the memory before it.
    rows_after: rows of the memory after it.
    before: accuracy before, a fraction, by group of queries.
    after: accuracy after, of the same groups.
    seconds: how long the edit took; None if nobody looked.
  """

  name: str
  rows_before: int
  rows_after: int
  before: Mapping[str, float]
  after: Mapping[str, float]
  seconds: float | None = None


def sections(
  found: Results,
  *,
  query_sets: Mapping[str, Results] | None = None,
  edits: Sequence[Edit] = (),
  gallery: Sequence[GalleryItem] = (),
) -> list[Section]:
  """The sections of a page.

  Args:
    found: the main query set.
    query_sets: further ones, by name.
    edits: the edits of the memory, in order.
    gallery: explained queries.
  """
  parts = [_edits_section(edits)] if edits else []
  parts.append(
    Section(
      title="Accuracy by voter and k",
      finding=_finding(found),
      figures=(
        Figure(
          name="accuracy",
          svg=_accuracy_figure(found),
          caption="With exact 95 % intervals.",
        ),
      ),
      tables=(_accuracy_table(found, name="accuracy"),),
    )
  )
  for name, results in (query_sets or {}).items():
    parts.append(
      Section(
        title=f"Query set: {name}",
        prose=(
          f"{percent(results.chosen_accuracy)} % ({results.voter},"
          f" k = {results.k}) of {len(results.labels):,} queries.",
          *notes(results),
        ),
        tables=(
          _accuracy_table(results, name=f"accuracy_{tables.file_name(name)}"),
        ),
      )
    )
  parts.append(_classes_section(found))
  if gallery:
    parts.append(
      Section(
        title="Queries and the neighbors that decided",
        prose=(
          "Under each query, its nearest rows of the memory, best first: class,"
          " similarity (cosine), and the weight of its vote. Green rows have"
          " the query's true class, red ones another.",
        ),
        gallery=tuple(gallery),
      )
    )
  return parts


def tiles(found: Results) -> dict[str, str]:
  """The numbers to see first: {what: number as text}."""
  return {
    f"accuracy: {found.voter} vote, k = {found.k}, chosen by"
    f" {found.chosen_by}": f"{percent(found.chosen_accuracy)} %",
    "queries": f"{len(found.labels):,}",
    "classes": f"{len(found.class_names):,}",
  }


def notes(found: Results) -> tuple[str, ...]:
  """What is worth knowing about the queries, as sentences."""
  told = []
  if found.num_absent:
    names = ", ".join(found.class_names[i] for i in found.absent_classes)
    told.append(
      "Queries of a class that the memory has no row of, which count as wrong:"
      f" {found.num_absent:,} ({names})."
    )
  if found.num_unlabeled:
    told.append(
      f"Queries without a label, which do not count: {found.num_unlabeled:,}."
    )
  return tuple(told)


def values(
  found: Results,
  *,
  query_sets: Mapping[str, Results] | None = None,
  edits: Sequence[Edit] = (),
) -> dict[str, Any]:
  """What report.json holds: see `sections` for the arguments."""
  return _values(found) | {
    "query_sets": {
      name: _values(results) for name, results in (query_sets or {}).items()
    },
    "edits": [dataclasses.asdict(edit) for edit in edits],
  }


def _values(found: Results) -> dict[str, Any]:
  """One query set: the curves, the chosen setting, and class by class."""
  voter, k, accuracy = found.best()
  right, counts = found.per_class()
  return {
    "accuracy": found.accuracy,
    "neighbors_fingerprint": found.neighbors_fingerprint,
    "chosen": {
      "voter": found.voter,
      "k": found.k,
      "accuracy": found.chosen_accuracy,
      "by": found.chosen_by,
    },
    # Chosen on the queries it is scored on, as is often published.
    "best_on_these_queries": {"voter": voter, "k": k, "accuracy": accuracy},
    "classes": [
      {"name": name, "queries": int(counts[i]), "right": int(right[i])}
      for i, name in enumerate(found.class_names)
    ],
    "most_confused": [
      {"label": label, "prediction": prediction, "queries": count}
      for label, prediction, count in most_confused(found, limit=_CONFUSED_KEPT)
    ],
    "query_counts": found.counts(),
    "absent_classes": [found.class_names[i] for i in found.absent_classes],
  }


def _edits_section(edits: Sequence[Edit]) -> Section:
  """Every edit as a row: its size, and every group before and after."""
  groups = list(dict.fromkeys(name for edit in edits for name in edit.after))
  marks = {}
  for row, edit in enumerate(edits):
    for column, group in enumerate(groups, start=3):
      change = edit.after.get(group, 0) - edit.before.get(group, 0)
      if change:
        marks[row, column] = "up" if change > 0 else "down"
  return Section(
    title="Edits of the memory",
    tables=(
      Table(
        header=("edit", "rows", "seconds", *(f"{g} (%)" for g in groups)),
        rows=tuple(
          (
            edit.name,
            f"{edit.rows_before:,} → {edit.rows_after:,}",
            "" if edit.seconds is None else f"{edit.seconds:.3g}",
            *(
              f"{percent(edit.before.get(group))} →"
              f" {percent(edit.after.get(group))}"
              for group in groups
            ),
          )
          for edit in edits
        ),
        caption="Accuracy before and after, by group of queries.",
        name="edits",
        marks=marks,
      ),
    ),
  )


def _accuracy_table(found: Results, *, name: str) -> Table:
  """One row per k, one column per voter, in percent."""
  ks = sorted({k for by_k in found.accuracy.values() for k in by_k})
  marks = {}
  for column, (voter, by_k) in enumerate(found.accuracy.items(), start=1):
    for row, k in enumerate(ks):
      marks[row, column] = " ".join(
        ["best"] * (by_k.get(k) == max(by_k.values()))
        + ["chosen"] * ((voter, k) == (found.voter, found.k))
      )
  return Table(
    header=("k", *found.accuracy),
    rows=tuple(
      (str(k), *(percent(by_k.get(k)) for by_k in found.accuracy.values()))
      for k in ks
    ),
    caption="Accuracy (%). Framed: the chosen setting. Bold green: the best k"
    " of each voter on these very queries, which flatters it.",
    name=name,
    marks={place: mark for place, mark in marks.items() if mark},
  )


def _classes_section(found: Results) -> Section:
  """Accuracy by class, the confusion matrix and the commonest errors."""
  drawn = [
    Figure(
      name="classes",
      svg=figures.class_figure(found),
      caption="Worst first.",
    )
  ]
  if len(found.class_names) <= _MOST_CLASSES:
    drawn.append(
      Figure(
        name="confusion",
        svg=figures.confusion_figure(found),
        caption="Queries by true and predicted class; the color is the share"
        " of the row.",
      )
    )
  confused = most_confused(found, limit=_CONFUSED_SHOWN)
  table = Table(
    header=("true class", "taken for", "queries"),
    rows=tuple((true, taken, f"{n:,}") for true, taken, n in confused),
    caption="Most confused.",
    name="confused",
  )
  return Section(
    title="Class by class",
    figures=tuple(drawn),
    tables=(table,) if confused else (),
  )


def _finding(found: Results) -> str:
  """How good the chosen vote is, and where it errs most."""
  right, counts = found.per_class()
  share = exact_share(int(right.sum()), int(counts.sum()))
  text = (
    f"The {found.voter} vote of {_neighbors(found.k)} is right for"
    f" {int(right.sum()):,} of {int(counts.sum()):,} queries:"
    f" {tables.share(share)}."
  )
  confused = most_confused(found, limit=1)
  if confused:
    ((true, taken, count),) = confused
    text += f" The commonest error: {true} taken for {taken} ({count:,})."
  return text


def _neighbors(k: int) -> str:
  """So many neighbors, in words."""
  return "the nearest row" if k == 1 else f"{k} neighbors"


def _accuracy_figure(found: Results) -> str:
  """Accuracy in percent against k, on a log axis, one line per voter."""
  total = len(found.labels) - found.num_unlabeled
  interval = lambda value: exact_share(round(value * total), total)
  return plots.curves(
    {
      voter: {k: 100 * value for k, value in by_k.items()}
      for voter, by_k in found.accuracy.items()
    },
    bands={
      voter: {k: tables.span(interval(value))[1:] for k, value in by_k.items()}
      for voter, by_k in found.accuracy.items()
    },
    name="accuracy",
    x_label="k, the number of neighbors that vote",
    y_label="accuracy (%)",
    x_log=True,
  )
