"""Pruning on a page: table 3 both ways, and the rows that mislead most."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from visual_memory.analysis import choosing
from visual_memory.analysis.choosing import Choice
from visual_memory.analysis.influence import RemovalEffects
from visual_memory.analysis.intervals import Difference
from visual_memory.analysis.pruned_votes import Pruned
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.sections.attribution import pictured
from visual_memory.reports.tables import Table, percent

_SHOWN = 20


def sections(
  found: Mapping[str, Mapping[str, Pruned]],
  published: Mapping[str, Mapping[str, tuple[int, float]]],
  *,
  wrong: Int[np.ndarray, "N"],
  effects: RemovalEffects,
  chosen: Choice,
  row_ids: np.ndarray,
  k: int,
  row_image: Callable[[str], np.ndarray | None] = lambda _: None,
  seed: int = 0,
  links: Mapping[str, str] | None = None,
) -> tuple[list[Section], dict[str, Any]]:
  """The sections of a page and the values for report.json.

  Args:
    found: from `pruned_votes.compare`.
    published: from `pruned_votes.best_on_held_out_as_published`.
    wrong: wrong counts of the rows.
    effects: of removing each row, on decisions.
    chosen: the vote whose decisions those are.
    row_ids: the memory's ids.
    k: neighbors that the wrong counts look at.
    row_image: from a row's id to its picture, or None.
    seed: of the bootstrap of changes.
    links: to what was written beside the page.
  """
  changed = _changes(found, seed)
  parts = [
    Section(
      title="Accuracy after pruning",
      finding=_finding(found, changed),
      prose=(
        "Hard pruning removes rows: the neighbors behind them move in, as if"
        " the rows had never been there. Soft pruning discounts them. By"
        " decisions removes the rows whose removal alone would have made more"
        " answers right than wrong. Each voter chose its treatment and k on"
        " tuning rows that none of the counts had seen.",
      ),
      tables=(_table(found, changed),),
      figures=(_figure(changed),) if changed else (),
      links=links or {},
    ),
    Section(
      title="As published",
      prose=(
        "Counts over all rows, the published threshold and factors, neighbors"
        " taken out without refilling, and the best k on the test queries:"
        " optimistic by construction.",
      ),
      tables=(_published_table(published),),
    ),
    _counted_section(wrong, effects, chosen, row_ids, k, row_image),
  ]
  values = {
    "pruning": {
      kind: {
        voter: _plain(result)
        | ({"change": changed[kind][voter].values()} if kind in changed else {})
        for voter, result in voters.items()
      }
      for kind, voters in found.items()
    },
    "as_published": {
      kind: {
        voter: {"k": best, "accuracy": accuracy}
        for voter, (best, accuracy) in voters.items()
      }
      for kind, voters in published.items()
    },
    "decisions": {
      "voter": chosen.name,
      "k": chosen.k,
      "non_private": effects.num_non_private,
      "helpful": effects.num_helpful,
      "harmful": effects.num_harmful,
      "net_harmful": int((effects.gain > 0).sum()),
    },
    "wrong_counts": {
      "k": k,
      "mean": float(wrong.mean()),
      "quantiles": {
        str(q): float(np.quantile(wrong, q)) for q in (0.5, 0.9, 0.99, 1.0)
      },
    },
  }
  return parts, values


def _plain(result: Pruned) -> dict[str, Any]:
  """One voter's result for report.json."""
  return {
    "treatment": result.treatment.name,
    "k": result.k,
    "rows_removed": result.treatment.num_excluded,
    "tuning_accuracy": result.tuning_accuracy,
    "accuracy": vars(result.scored.accuracy),
  }


def _changes(found, seed) -> dict[str, dict[str, Difference]]:
  """Each kind against the same voter's unpruned memory, query by query."""
  plain = found["none"]
  return {
    kind: {
      voter: choosing.difference(result.scored, plain[voter].scored, seed=seed)
      for voter, result in results.items()
    }
    for kind, results in found.items()
    if kind != "none"
  }


def _table(found, changed) -> Table:
  """What every voter chose, and what that changed."""
  rows = []
  for voter in found["none"]:
    for kind, results in found.items():
      result = results[voter]
      change = changed[kind][voter] if kind in changed else None
      rows.append(
        (
          voter,
          kind,
          tables.interval(result.scored.accuracy, digits=2),
          "" if change is None else tables.change(change.interval),
          "" if change is None else tables.p_value(change.p_value),
          "" if kind == "none" else result.treatment.name,
          str(result.k),
          f"{result.treatment.num_excluded:,}",
        )
      )
  return Table(
    header=(
      "voter", "pruning", "accuracy (%)", "change (points)", "p", "chosen", "k",
      "rows removed",
    ),
    rows=tuple(rows),
    caption="Test accuracy and its change against the same voter without"
    " pruning, on the same queries, with 95 % intervals and McNemar's exact"
    " test; treatment and k were chosen on the tuning rows.",
    name="pruning",
  )  # fmt: skip


def _figure(changed) -> Figure:
  """The changes with their intervals."""
  return Figure.of(
    plots.intervals,
    {
      kind: {
        voter: tables.span(change.interval) for voter, change in voters.items()
      }
      for kind, voters in changed.items()
    },
    name="pruning",
    caption="With 95 % intervals of the paired difference.",
    order=list(next(iter(changed.values()), ())),
    x_label="change of accuracy against no pruning (points)",
    zero=True,
  )


def _finding(found, changed) -> str:
  """The kind and voter of the highest tuning accuracy, and what it changed."""
  if not changed:
    return "No pruning is possible here: too few rows would be left."
  kind, voter = max(
    ((kind, voter) for kind in changed for voter in changed[kind]),
    key=lambda place: found[place[0]][place[1]].tuning_accuracy,
  )
  result, change = found[kind][voter], changed[kind][voter]
  return (
    f"{kind.capitalize()} pruning ({result.treatment.name}), which the tuning"
    f" rows prefer with the {voter} vote, changes test accuracy by"
    f" {tables.change(change.interval)} points ("
    f"{tables.p_words(change.p_value)}) to"
    f" {tables.share(result.scored.accuracy)}."
  )


def _published_table(published) -> Table:
  """Accuracy and k of the published protocol."""
  voters = list(next(iter(published.values())))
  cell = lambda best: f"{percent(best[1], digits=2)} (k={best[0]})"
  return Table(
    header=("pruning", *voters),
    rows=tuple(
      (kind, *(cell(results[voter]) for voter in voters))
      for kind, results in published.items()
    ),
    caption="Best test accuracy (%) over k.",
    name="pruning_as_published",
  )


def _counted_section(wrong, effects, chosen, row_ids, k, row_image) -> Section:
  """How often rows mislead, and which do most."""
  order = np.argsort(-wrong, kind="stable")[:_SHOWN]
  order = order[wrong[order] > 0]
  table = Table(
    header=("row", "wrong count", "helps", "harms"),
    rows=tuple(
      (
        str(row_ids[row]),
        f"{wrong[row]:,}",
        f"{effects.helps[row]:,}",
        f"{effects.harms[row]:,}",
      )
      for row in order
    ),
    caption="The rows retrieved most often with a wrong label.",
    pictures=pictured(row_image, row_ids[order]),
    name="misleading_rows",
  )
  return Section(
    title="Rows that mislead",
    prose=(
      f"The wrong count of a row is how often it is among the {k} nearest"
      " neighbors of another row that has another label."
      f" {percent(np.mean(wrong == 0))} % of the rows never mislead; the most"
      f" misleading one does so {wrong.max():,} times.",
      f"By decisions ({chosen.name} at k={chosen.k}): removing one row changes"
      f" an answer for {effects.num_non_private:,} of {len(wrong):,} rows;"
      f" {int((effects.gain > 0).sum()):,} rows harm more answers than they"
      " help.",
    ),
    tables=(table,),
    figures=(
      Figure.of(
        plots.curves,
        {"rows": _share_reaching(wrong)},
        name="wrong_counts",
        x_label="wrong count",
        y_label="rows that reach it (%)",
        x_log=True,
      ),
    ),
  )


def _share_reaching(wrong) -> dict[int, float]:
  """The percentage of rows with at least each count, at powers of two."""
  counts = 2 ** np.arange(int(wrong.max()).bit_length() + 1)
  return {int(count): 100 * np.mean(wrong >= count) for count in counts}
