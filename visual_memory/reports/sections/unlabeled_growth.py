"""Growing by one's own labels, on a page: what they are worth."""

from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.analysis.choosing import Choice, Scored, difference
from visual_memory.reports import tables
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table, percent


def sections(
  grown: Sequence[Any],
  found: Sequence[tuple[Choice, Mapping[str, Scored]]],
  *,
  seed: int,
) -> tuple[list[Section], dict[str, Any], dict[str, str]]:
  """The section of a page, the values for report.json, and the tiles.

  Args:
    grown: the memories (name, rows, num_added, label_accuracy): the labelled
      rows alone, those grown by agreement, that with true labels.
    found: what was chosen in each, and how every set came out.
    seed: of the bootstrap.
  """
  alone = found[0][1]
  own = range(len(grown) - 1)  # The true labels are not to be had.
  best = max(own, key=lambda place: found[place][0].accuracy)
  gains = [
    {name: difference(scored[name], alone[name], seed=seed) for name in scored}
    for _, scored in found
  ]
  table = Table(
    header=(
      "memory", "added rows", "their labels right (%)", "voter, k",
      "tuning (%)", *(f"{name} (%)" for name in alone),
      *(f"gain, {name} (points)" for name in alone), "p",
    ),
    rows=tuple(
      (
        one.name,
        f"{one.num_added:,}",
        percent(one.label_accuracy),
        f"{choice.name}, {choice.k}",
        percent(choice.accuracy),
        *(tables.interval(each.accuracy) for each in scored.values()),
        *(tables.change(each.interval) for each in gain.values()),
        tables.p_value(next(iter(gain.values())).p_value),
      )
      for one, (choice, scored), gain in zip(grown, found, gains, strict=True)
    ),
    caption="Gains over the labeled rows alone, on the same queries; p of the"
    " test queries, McNemar's exact test. The last line needs labels that are"
    " not there: a ceiling.",
    name="unlabeled_growth",
  )  # fmt: skip
  values = {
    "unlabeled_growth": [
      {
        "memory": one.name,
        "rows": len(one.rows),
        "added": one.num_added,
        "label_accuracy": one.label_accuracy,
        "voter": choice.name,
        "k": choice.k,
        "tuning_accuracy": choice.accuracy,
        "accuracy": {n: vars(x.accuracy) for n, x in scored.items()},
        "gain": {n: x.values() for n, x in gain.items()},
      }
      for one, (choice, scored), gain in zip(grown, found, gains, strict=True)
    ],
    "chosen": {
      "memory": grown[best].name,
      "voter": found[best][0].name,
      "k": found[best][0].k,
      "accuracy": next(iter(found[best][1].values())).accuracy.mean,
      "by": "tuning rows",
    },
  }
  first = next(iter(alone))
  gain = gains[best][first]
  what = (
    f"{grown[best].num_added:,} rows with an {grown[best].name} change"
    f" test accuracy by {tables.change(gain.interval)} points"
    f" ({tables.p_words(gain.p_value)})"
    if best
    else "the tuning rows prefer the labeled rows alone"
  )
  section = Section(
    title="Rows without labels",
    finding=(
      f"Of {grown[-1].num_added:,} rows whose labels are not looked at, {what};"
      f" with their true labels it would be"
      f" {tables.change(gains[-1][first].interval)} points."
    ),
    prose=(
      "The memory's labeled rows vote on a pool of rows whose labels are not"
      " looked at; those for which the vote agrees enough join the memory"
      " under the label that it gave them. How much agreement is asked for is"
      f" chosen on tuning rows, of which none is also a choice:"
      f" {grown[best].name}.",
    ),
    tables=(table,),
  )
  told = lambda value: percent(value, signed=True)
  tiles = {
    **(
      {f"{grown[best].name}: gain in points": told(gain.interval.mean)}
      if best
      else {}
    ),
    "true labels of the pool: gain in points": told(
      gains[-1][first].interval.mean
    ),
  }
  return [section], values, tiles
