"""Encoders side by side on a page: who is how accurate, and from what."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from visual_memory.analysis.aggregation import Standing
from visual_memory.analysis.choosing import Choice, Scored
from visual_memory.encoders.encoder import Encoder
from visual_memory.reports import pictures as drawn
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.pictures import contact_sheet
from visual_memory.reports.tables import Table, percent

_COLUMNS, _SHOWN = 4, 24
"""Pictures of a family in a row, and in all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
  """An encoder and how it did.

  Attributes:
    encoder: it.
    choices: by task, the voter and k that its tuning rows prefer.
    scored: by task, the test queries at that.
    learned: whether it was learned in this run, at the same cost as the
      others of which that is said.
  """

  encoder: Encoder
  choices: Mapping[str, Choice]
  scored: Mapping[str, Scored]
  learned: bool

  @property
  def num_weights(self) -> int:
    """How many numbers it consists of."""
    return sum(leaf.size for leaf in jax.tree.leaves(self.encoder.params))


def sections(
  compared: Mapping[str, Compared],
  standings: Mapping[str, Mapping[str, Standing]],
  *,
  baseline: str,
  notes: Sequence[str],
  series: Mapping[str, Sequence[str]],
  pictures: Mapping[str, UInt8[np.ndarray, "N S S 3"]],
) -> tuple[tuple[Section, ...], dict[str, Any], dict[str, str]]:
  """The sections of a page, the values for report.json, and the tiles.

  Args:
    compared: the encoders by name.
    standings: by task, then by encoder, the most accurate first.
    baseline: the encoder that the others are compared with.
    notes: what else is to be known of these encoders.
    series: encoders of growing size, by what they are: each is a curve of
      accuracy against size. Names that are not compared are left out.
    pictures: what was learned from, by family.
  """
  order = list(next(iter(standings.values())))
  parts = [
    Section(
      title="One memory, many encoders",
      finding=_finding(standings, baseline),
      prose=(
        "Voter and k are chosen on tuning rows of the memory, for each encoder"
        " and task by itself; the test queries are scored once. Intervals:"
        " 95 %, bootstrap. Differences are of the same queries; p: exact"
        f" McNemar test against {_words(baseline)}, each pair alone.",
        "Alike: those so marked were learned from as many pictures and patches"
        " in as many rounds, and differ in their pictures (or size) alone; how"
        " long the pictures take to render is not counted.",
        *notes,
      ),
      figures=tuple(
        _ranking(task, found, compared) for task, found in standings.items()
      ),
      tables=(
        _table(compared, standings, order, baseline),
        _choices(compared, order),
      ),
    )
  ]
  if series:
    parts.append(_sizes(compared, series))
  if pictures:
    parts.append(_samples(pictures))
  tiles = {
    f"{task}: {_words(name)}": f"{percent(standing.accuracy.mean)} %"
    for task, found in standings.items()
    for name, standing in list(found.items())[:2]
  }
  return tuple(parts), _values(compared, standings, baseline), tiles


def _finding(standings, baseline) -> str:
  """The best encoder of each task, against the baseline."""
  told = []
  for task, found in standings.items():
    name, best = next(iter(found.items()))
    text = f"{task}: {_words(name)} is best, {tables.share(best.accuracy)}"
    if best.gain is not None:
      text += (
        f", {tables.change(best.gain.interval)} points against"
        f" {_words(baseline)} ({tables.p_words(best.gain.p_value)})"
      )
    told.append(f"{text}.")
  return " ".join(told)


def _ranking(task, found, compared) -> Figure:
  """Accuracies with their intervals, best above."""
  groups = {"alike": {}, "others": {}}
  for name, standing in found.items():
    group = "alike" if compared[name].learned else "others"
    groups[group][_words(name)] = tables.span(standing.accuracy)
  return Figure.of(
    plots.intervals,
    groups,
    name=f"ranking_{task}",
    caption=f"{task}: accuracy with its 95 % interval.",
    order=[_words(name) for name in found],
    x_label="test accuracy (%)",
  )


def _table(compared, standings, order, baseline) -> Table:
  """One row for each encoder, all tasks."""
  heads = [
    (f"{task} (95 %)", f"over {_words(baseline)}", "p") for task in standings
  ]
  return Table(
    header=(
      "encoder", "alike", "D", "weights", *(h for head in heads for h in head),
    ),
    rows=tuple(
      (
        _words(name),
        "yes" if compared[name].learned else "",
        f"{compared[name].encoder.dim:,}",
        f"{compared[name].num_weights:,}",
        *(cell for found in standings.values() for cell in _cells(found[name])),
      )
      for name in order
    ),
    caption="Test accuracy and differences in percent.",
    name="encoders",
  )  # fmt: skip


def _cells(standing) -> tuple[str, ...]:
  """One encoder on one task."""
  accuracy, gain = tables.interval(standing.accuracy), standing.gain
  if gain is None:
    return accuracy, "", ""
  return (
    accuracy,
    tables.change(gain.interval),
    tables.p_value(gain.p_value),
  )


def _choices(compared, order) -> Table:
  """What the tuning rows chose."""
  return Table(
    header=("encoder", "task", "voter", "k", "tuning rows (%)"),
    rows=tuple(
      (_words(name), task, choice.name, str(choice.k), percent(choice.accuracy))
      for name in order
      for task, choice in compared[name].choices.items()
    ),
    caption="What the tuning rows chose, and the accuracy there.",
    name="choices",
  )


def _sizes(compared, series) -> Section:
  """Accuracy against size, one figure for each task."""
  present = {
    label: [name for name in names if name in compared]
    for label, names in series.items()
  }
  present = {label: names for label, names in present.items() if names}
  return Section(
    title="Accuracy against size",
    figures=tuple(
      _size_figure(task, compared, present)
      for task in next(iter(compared.values())).scored
    ),
  )


def _size_figure(task, compared, present) -> Figure:
  """One task: a curve for each series."""
  interval = lambda name: compared[name].scored[task].accuracy
  return Figure.of(
    plots.curves,
    {
      label: {
        compared[name].num_weights: 100 * interval(name).mean for name in names
      }
      for label, names in present.items()
    },
    name=f"size_{task}",
    caption=f"{task}; shaded: 95 % intervals.",
    bands={
      label: {
        compared[name].num_weights: tables.span(interval(name))[1:]
        for name in names
      }
      for label, names in present.items()
    },
    x_label="weights",
    y_label="test accuracy (%)",
    x_log=True,
  )


def _samples(pictures) -> Section:
  """The first pictures of every family."""
  count = min(_SHOWN, *(len(images) for images in pictures.values()))
  count -= count % _COLUMNS
  sheets = [
    contact_sheet(np.asarray(images[:count]), columns=_COLUMNS)
    for images in pictures.values()
  ]
  return Section(
    title="What was learned from",
    figures=(
      Figure.of(
        drawn.picture_grid,
        [sheets],
        name="pictures",
        caption="The first pictures of each family, at the size that is"
        " learned from.",
        columns=[_words(family) for family in pictures],
        side=1.4,
      ),
    ),
  )


def _values(compared, standings, baseline) -> dict[str, Any]:
  """Every number, by encoder, the most accurate first."""
  order = list(next(iter(standings.values())))
  return {
    "baseline": baseline,
    "encoders": {
      name: {
        "learned_alike": compared[name].learned,
        "dim": compared[name].encoder.dim,
        "num_weights": compared[name].num_weights,
        "fingerprint": compared[name].encoder.fingerprint,
        "tasks": {
          task: _task_values(compared[name].choices[task], found[name])
          for task, found in standings.items()
        },
      }
      for name in order
    },
  }


def _task_values(choice, standing) -> dict[str, Any]:
  """One encoder on one task."""
  return {
    "voter": choice.name,
    "k": choice.k,
    "tuning_accuracy": choice.accuracy,
    "accuracy": vars(standing.accuracy),
    "over_baseline": standing.gain and standing.gain.values(),
  }


def _words(name: str) -> str:
  """A name as it is read."""
  return name.replace("_", " ")
