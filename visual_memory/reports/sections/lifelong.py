"""Lifelong learning on a page: table 1, honestly and as published."""

from collections.abc import Sequence
from typing import Any

from visual_memory.analysis.lifelong import Scores
from visual_memory.reports import formats, plots
from visual_memory.reports.formats import percent
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table


def sections(
  found: Sequence[Scores], *, num_known: int, num_new: int, seconds: float
) -> tuple[list[Section], dict[str, Any]]:
  """The section of a page and the values for report.json.

  Args:
    found: scores of every group of queries.
    num_known: rows of the memory before.
    num_new: rows that were added.
    seconds: what adding them took.
  """
  voters = list(found[0].chosen)
  honest = Table(
    header=("memory", "queries", "nearest row", *voters),
    rows=tuple(
      (
        item.memory,
        item.queries,
        percent(item.nearest),
        *(formats.interval(item.chosen[voter], digits=2) for voter in voters),
      )
      for item in found
    ),
    caption="Accuracy (%); k chosen on the known classes' tuning rows.",
    name="lifelong",
  )
  published = Table(
    header=("memory", "queries", "nearest row", *found[0].as_published),
    rows=tuple(
      (
        item.memory,
        item.queries,
        percent(item.nearest),
        *(
          f"{percent(accuracy, digits=2)} (k={k})"
          for k, accuracy in item.as_published.values()
        ),
      )
      for item in found
    ),
    caption="As published: the best k on the very queries that are scored.",
    name="lifelong_as_published",
  )
  bars = plots.bars(
    {
      f"{item.queries} queries, {item.memory}": {
        voter: 100 * item.chosen[voter].mean for voter in voters
      }
      for item in found
    },
    name="lifelong",
    y_label="accuracy (%)",
    y_range=(0, 100),
  )
  section = Section(
    title="New classes",
    prose=(
      f"{num_new:,} rows of classes that the memory did not know joined its"
      f" {num_known:,} rows in {seconds:.2f} s. Nothing was trained.",
    ),
    tables=(honest, published),
    figures=(Figure(name="lifelong", svg=bars),),
  )
  values = {
    "lifelong": [
      {
        "memory": item.memory,
        "queries": item.queries,
        "nearest": item.nearest,
        "chosen": {voter: vars(x) for voter, x in item.chosen.items()},
        "as_published": {
          voter: {"k": k, "accuracy": accuracy}
          for voter, (k, accuracy) in item.as_published.items()
        },
      }
      for item in found
    ],
    "rows": {"known": num_known, "new": num_new},
    "add_seconds": seconds,
  }
  return [section], values
