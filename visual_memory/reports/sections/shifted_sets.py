"""Test sets of other images on a page: table 2, every protocol side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.analysis.shifted_sets import ShiftedScores
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, file_name, percent


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
    "over_nearest": {
      voter: gain.values() for voter, gain in item.gains.items()
    },
    "chosen": {voter: vars(x) for voter, x in item.chosen.items()},
    "as_published": {
      voter: {"k": k, "accuracy": accuracy}
      for voter, (k, accuracy) in item.as_published.items()
    },
  }


def _section(name, scores, counts) -> Section:
  """One set."""
  voters = list(scores[0].chosen)
  best = max(voters, key=lambda voter: scores[0].chosen[voter].mean)
  gain = scores[0].gains[best]
  return Section(
    title=name,
    finding=(
      f"{name}: {tables.share(scores[0].chosen[best])} are right among"
      f" {scores[0].protocol} ({best} vote),"
      f" {tables.change(gain.interval)} points against the nearest row alone"
      f" ({tables.p_words(gain.p_value)})."
    ),
    prose=(
      ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) + ".",
    ),
    figures=(
      Figure.of(
        plots.intervals,
        {
          item.protocol: {
            voter: tables.span(item.chosen[voter]) for voter in voters
          }
          for item in scores
        },
        name=f"shifted_{file_name(name)}",
        caption="k chosen on the memory's tuning rows; 95 % intervals.",
        order=voters,
        x_label="accuracy (%)",
      ),
    ),
    tables=(
      Table(
        header=(
          "protocol", "voter", "accuracy (%)", "over the nearest row", "p",
        ),
        rows=tuple(
          (
            f"{item.protocol} ({item.num_classes:,})",
            voter,
            tables.interval(item.chosen[voter]),
            tables.change(item.gains[voter].interval),
            tables.p_value(item.gains[voter].p_value),
          )
          for item in scores
          for voter in voters
        ),
        caption="Differences are of the same queries, in points, with 95 %"
        " intervals and McNemar's exact test. In parentheses: how many classes"
        " compete.",
        name=file_name(name),
      ),
      Table(
        header=("protocol", "nearest row", *scores[0].as_published),
        rows=tuple(
          (
            item.protocol,
            percent(item.nearest),
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
  )  # fmt: skip
