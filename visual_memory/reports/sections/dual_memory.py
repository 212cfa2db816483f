"""Dual memory networks: accuracy by shots, honest and as published."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory.analysis.intervals import over_seeds
from visual_memory.dual_memory.protocol import PARTS, ShotTest
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table

_WHAT = {
  "base": "base alone",
  "static": "base + static",
  "dynamic": "base + dynamic",
  "all": "base + static + dynamic",
}


def section(
  title: str,
  shot_tests: Mapping[int, Sequence[ShotTest]],
  *,
  base: str,
  chosen_on: str,
) -> Section:
  """One method: mean and deviation over seeds, for each number of shots.

  Args:
    title: one line.
    shot_tests: by number of shots, one shot test for each seed.
    base: what the base is, in words.
    chosen_on: what chose weights and temperatures, in words.
  """
  lines = {
    what: {
      shots: 100 * _mean(found, part) for shots, found in shot_tests.items()
    }
    for part, what in _WHAT.items()
  }  # fmt: skip
  bands = {
    what: {
      shots: tuple(
        100 * (_mean(found, part) + sign * _deviation(found, part))
        for sign in (-1, 1)
      )
      for shots, found in shot_tests.items()
    }
    for part, what in _WHAT.items()
  }
  name = tables.file_name(title)
  figures = ()
  if len(shot_tests) > 1:
    figure = plots.curves(
      lines, name=name, x_label="shots of each class",
      y_label="accuracy (%)", x_log=min(shot_tests) > 0, bands=bands,
    )  # fmt: skip
    caption = "Mean and standard deviation over seeds."
    figures = (Figure(name=name, svg=figure, caption=caption),)
  return Section(
    title=title,
    finding=_finding(title, shot_tests),
    prose=(
      f"The base is {base}. Weights, sharpness and temperature were chosen on"
      f" {chosen_on}. The last column searches the weights on the test labels,"
      " as published: it is not a result. Gains are paired over seeds, with"
      " Student's 95 % interval and test.",
    ),
    figures=figures,
    tables=(
      Table(
        header=(
          "shots",
          *(f"{what} (%)" for what in _WHAT.values()),
          "gain (points)",
          "p",
          "weights of one (%)",
          "weights from the test (%)",
        ),
        rows=tuple(
          (
            str(shots),
            *(
              tables.spread([t.accuracy[part] for t in found]) for part in PARTS
            ),
            *_gain_cells(found),
            tables.spread([t.fixed["all"] for t in found]),
            tables.spread([t.as_published for t in found]),
          )
          for shots, found in shot_tests.items()
        ),
        name=name,
      ),
    ),
  )


def values(shot_tests: Mapping[int, Sequence[ShotTest]]) -> dict[str, Any]:
  """The same as plain values: every shot test, and means and deviations."""
  return {
    str(shots): {
      "mean": {part: _mean(found, part) for part in PARTS},
      "deviation": {part: _deviation(found, part) for part in PARTS},
      "gain": {
        part: _gain_values(found, part)
        for part in PARTS
        if part != "base"
      },
      "as_published_mean": float(np.mean([t.as_published for t in found])),
      "fixed_mean": float(np.mean([t.fixed["all"] for t in found])),
      "alone_mean": {
        name: float(np.mean([t.alone[name] for t in found]))
        for name in found[0].alone
      },
      "shot_tests": [dataclasses.asdict(t) for t in found],
    }
    for shots, found in shot_tests.items()
  }  # fmt: skip


def accuracy(
  found: Mapping[str, Mapping[int, Sequence[ShotTest]]],
) -> dict[str, dict[str, float]]:
  """Mean accuracy by variant and sum, and by number of shots."""
  return {
    f"{variant}, {_WHAT[part]}": {
      str(shots): _mean(shot_tests, part) for shots, shot_tests in table.items()
    }
    for variant, table in found.items()
    for part in PARTS
  }


def published(
  expected: Mapping[str, float],
  found: Mapping[int, Sequence[ShotTest]],
  *,
  encoder: str,
) -> Section:
  """Published numbers (percent) beside those that their protocol gives here."""
  ours = {
    "text": lambda t: t.accuracy["base"],
    "zero_shot": lambda t: t.as_published,
  }
  rows = []
  for name, value in expected.items():
    shots = 0 if name in ours else int(name.rsplit("_", 1)[1])
    measure = ours.get(name, lambda t: t.as_published)
    here = found.get(shots)
    own = tables.spread([measure(t) for t in here]) if here else ""
    rows.append((name.replace("_", " "), f"{value:.1f}", own))
  return Section(
    title="As published",
    prose=(
      "Weights chosen on the test labels, as in the released code;"
      f" published with {encoder}.",
    ),
    tables=(Table(header=("", "published (%)", "here (%)"), rows=tuple(rows)),),
  )


def _mean(shot_tests, part):
  return float(np.mean([t.accuracy[part] for t in shot_tests]))


def _deviation(shot_tests, part):
  values = [t.accuracy[part] for t in shot_tests]
  return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _gains(found, part) -> list[float]:
  """What a sum adds to the base, seed by seed: the shots are the same."""
  return [t.accuracy[part] - t.accuracy["base"] for t in found]


def _gain_values(found, part) -> dict[str, Any]:
  """The paired gain for report.json; of one seed, the gain alone."""
  gains = _gains(found, part)
  change = over_seeds(gains)
  return {"mean": float(np.mean(gains))} if change is None else change.values()


def _gain_cells(found) -> tuple[str, str]:
  """The paired gain of all memories and its p-value, as cells."""
  gains = _gains(found, "all")
  change = over_seeds(gains)
  if change is None:
    mean = float(np.mean(gains))
    return tables.percent(mean, digits=2, signed=True), tables.NONE
  return tables.change(change.interval), tables.p_value(change.p_value)


def _finding(title, shot_tests) -> str:
  """What the memories add with the most shots."""
  shots, found = list(shot_tests.items())[-1]
  gain, p = _gain_cells(found)
  told = p if p.startswith("<") else f"= {p}"
  ending = "" if p == tables.NONE else f" (p {told}, {len(found)} seeds)"
  return (
    f"{title}: with {shots} shots of each class the memories change accuracy"
    f" from {tables.spread([t.accuracy['base'] for t in found])} to"
    f" {tables.spread([t.accuracy['all'] for t in found])} %, by {gain}"
    f" points{ending}."
  )
