"""Classes that arrive in steps, on a page: kept, learned, forgotten."""

from collections.abc import Mapping
from typing import Any

from visual_memory.analysis.intervals import bootstrap_mean, paired
from visual_memory.analysis.lifelong import Course
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent


def sections(
  found: Mapping[str, Course], *, reference: str, seed: int
) -> tuple[list[Section], dict[str, Any], dict[str, str]]:
  """The section of a page, the values for report.json, and the tiles.

  Args:
    found: the courses by learner, the memory first.
    reference: the learner that has all rows at every step.
    seed: of the bootstrap.
  """
  memory = next(iter(found.values()))
  end = {
    name: bootstrap_mean(one.right[-1], seed=seed)
    for name, one in found.items()
  }
  against = {
    name: paired(memory.right[-1], one.right[-1], seed=seed)
    for name, one in found.items()
    if one is not memory
  }
  behind = {
    name: one.intransigence(found[reference]) for name, one in found.items()
  }
  table = Table(
    header=(
      "learner", "at the end (%)", "memory less it", "p", "forgetting",
      "on arrival (%)", "behind", "learning (s)",
    ),
    rows=tuple(
      (
        name,
        tables.interval(end[name]),
        tables.change(against[name].interval) if name in against else "",
        tables.p_value(against[name].p_value) if name in against else "",
        percent(one.forgetting, signed=True),
        percent(one.on_arrival),
        percent(behind[name], signed=True),
        f"{sum(one.seconds):.1f}",
      )
      for name, one in found.items()
    ),
    caption="Of all classes at the end, with the difference on the same queries"
    " (McNemar's exact test). Forgetting: how far the classes of all steps but"
    " the last fell from their best. On arrival: of what is new, right after"
    " each step; behind: the retrained head less it. Points where no % is said;"
    " seconds over all steps.",
    name="class_sequence",
  )  # fmt: skip
  by_step = lambda values: {t: 100 * x for t, x in enumerate(values, 1)}
  figures = tuple(
    Figure.of(
      plots.curves,
      {learner: by_step(of(one)) for learner, one in found.items()},
      name=name,
      x_label="steps so far",
      y_label=label,
    )
    for name, label, of in (
      ("sequence_so_far", "accuracy, all classes so far (%)",
       lambda one: one.so_far),
      ("sequence_first", "accuracy, classes of the first step (%)",
       lambda one: one.accuracy[:, 0]),
    )
  )  # fmt: skip
  others = "; ".join(
    f"{name}, {percent(one.right[-1].mean())} % and"
    f" {percent(one.forgetting)} points"
    for name, one in found.items()
    if one is not memory
  )
  section = Section(
    title="Classes arrive in steps",
    finding=(
      f"After {len(memory.right)} steps the memory is right in"
      f" {percent(memory.right[-1].mean())} % of all queries and has forgotten"
      f" {percent(memory.forgetting)} points ({others})."
    ),
    prose=(
      "The memory is given the rows of each step. One linear head is fitted to"
      " all rows so far at every step, the other goes on from where it is, on"
      " the new rows alone. A class more is a class more to be confused with:"
      " some forgetting is in the question, and the retrained head shows how"
      " much.",
    ),
    tables=(table,),
    figures=figures,
  )
  values = {
    "class_sequence": {
      name: {
        "accuracy": vars(end[name]),
        "forgetting": one.forgetting,
        "on_arrival": one.on_arrival,
        "behind_on_arrival": behind[name],
        "seconds": one.seconds,
        "after_each_step": [tables.or_none(row) for row in one.accuracy],
      }
      | ({"memory_less_it": against[name].values()} if name in against else {})
      for name, one in found.items()
    }
  }
  tiles = {
    f"{name}: at the end": f"{percent(value.mean)} %"
    for name, value in end.items()
  }
  return [section], values, tiles
