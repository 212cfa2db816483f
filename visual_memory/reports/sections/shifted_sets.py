"""Test sets of other images on a page: table 2, every protocol side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.analysis.shifted_sets import ShiftedScores
from visual_memory.reports.formats import file_name, percent
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table


def sections(
  found: Mapping[str, Sequence[ShiftedScores]],
  counts: Mapping[str, Mapping[str, int]],
) -> tuple[list[Section], dict[str, Any]]:
  """The sections of a page and the values for report.json.

  Args:
    found: by set, its protocols.
    counts: by set, what was counted: queries, dropped ones.
  """
  parts = [_section(name, scores, counts[name])
           for name, scores in found.items()]  # fmt: skip
  values = {
    "sets": {
      name: {
        "counts": dict(counts[name]),
        "protocols": [_plain(item) for item in scores],
      }
      for name, scores in found.items()
    }
  }
  return parts, values


def _plain(item: ShiftedScores) -> dict[str, Any]:
  """One protocol for report.json."""
  return {
    "protocol": item.protocol,
    "competing_classes": item.num_classes,
    "nearest": item.nearest,
    "unanswered": item.num_unanswered,
    "chosen": {voter: vars(x) for voter, x in item.chosen.items()},
    "as_published": {
      voter: {"k": k, "accuracy": accuracy}
      for voter, (k, accuracy) in item.as_published.items()
    },
  }


def _section(name, scores, counts) -> Section:
  """One set."""
  voters = list(scores[0].chosen)
  start = lambda item: (
    item.protocol,
    f"{item.num_classes:,}",
    percent(item.nearest),
  )
  head = ("protocol", "classes", "nearest row")
  return Section(
    title=name,
    prose=(
      ", ".join(f"{value:,} {what}" for what, value in counts.items()) + ".",
    ),
    tables=(
      Table(
        header=(*head, *voters),
        rows=tuple(
          (*start(item), *(percent(item.chosen[v].mean) for v in voters))
          for item in scores
        ),
        caption="Accuracy (%); k chosen on the memory's tuning rows.",
        name=file_name(name),
      ),
      Table(
        header=(*head, *scores[0].as_published),
        rows=tuple(
          (
            *start(item),
            *(
              f"{percent(accuracy)} (k={k})"
              for k, accuracy in item.as_published.values()
            ),
          )
          for item in scores
        ),
        caption="As published: the best k on this very set.",
        name=f"{file_name(name)}_as_published",
      ),
    ),
  )
