"""Lifelong learning on a page: table 1, honestly and as published."""

from collections.abc import Sequence
from typing import Any

from visual_memory.analysis.lifelong import Scores, changes
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent


def sections(
  found: Sequence[Scores],
  *,
  num_known: int,
  num_new: int,
  seconds: float,
  seed: int = 0,
) -> tuple[list[Section], dict[str, Any]]:
  """The section of a page and the values for report.json.

  Args:
    found: the known queries before and after, then the new ones.
    num_known: rows of the memory before.
    num_new: rows that were added.
    seconds: what adding them took.
    seed: of the bootstrap of the change.
  """
  before, after, new = found
  changed = changes(before, after, seed=seed)
  voters = list(before.chosen)
  best = max(voters, key=lambda voter: new.chosen[voter].accuracy.mean)
  honest = Table(
    header=(
      "voter",
      "known before (%)",
      "known after (%)",
      "change (points)",
      "p",
      "new (%)",
    ),
    rows=tuple(
      (
        voter,
        *(tables.interval(x.chosen[voter].accuracy) for x in (before, after)),
        tables.change(changed[voter].interval),
        tables.p_value(changed[voter].p_value),
        tables.interval(new.chosen[voter].accuracy),
      )
      for voter in voters
    ),
    caption="Accuracy of known and new queries, with 95 % intervals; k chosen"
    " on the known classes' tuning rows. Change: of the same queries, with"
    " McNemar's exact test.",
    name="lifelong",
  )
  published = Table(
    header=("memory", "queries", "nearest row", *before.as_published),
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
  points = plots.intervals(
    {
      f"{item.queries} queries, {item.memory}": {
        voter: tables.span(item.chosen[voter].accuracy) for voter in voters
      }
      for item in found
    },
    order=voters,
    name="lifelong",
    x_label="accuracy (%)",
  )
  section = Section(
    title="New classes",
    finding=(
      f"{num_new:,} rows of new classes joined {num_known:,} rows in"
      f" {seconds:.2f} s, and nothing was trained: new queries are right in"
      f" {tables.share(new.chosen[best].accuracy)} ({best} vote), and"
      " those of the known classes changed by"
      f" {tables.change(changed[best].interval)} points"
      f" ({tables.p_words(changed[best].p_value)})."
    ),
    tables=(honest, published),
    figures=(
      Figure(
        name="lifelong", svg=points, caption="Accuracy with 95 % intervals."
      ),
    ),
  )
  values = {
    "lifelong": [
      {
        "memory": item.memory,
        "queries": item.queries,
        "nearest": item.nearest,
        "chosen": {voter: vars(x.accuracy) for voter, x in item.chosen.items()},
        "as_published": {
          voter: {"k": k, "accuracy": accuracy}
          for voter, (k, accuracy) in item.as_published.items()
        },
      }
      for item in found
    ],
    "change_of_known": {
      voter: change.values() for voter, change in changed.items()
    },
    "rows": {"known": num_known, "new": num_new},
    "add_seconds": seconds,
  }
  return [section], values
