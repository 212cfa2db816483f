"""Voters compared: tables 4 to 9 and figures 2, 7, 8 and 9 of the paper."""

import functools
from collections.abc import Mapping
from typing import Any

from visual_memory.analysis.aggregation import Comparison, Sweep
from visual_memory.analysis.intervals import exact_share
from visual_memory.reports import plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.sections.encoders_overlaid import Overlay
from visual_memory.reports.tables import Table


def comparison(
  name: str, found: Comparison, *, folded: bool = False
) -> Section:
  """One encoder: every voter at every k."""
  accuracy = found.table.accuracy()
  ks = [k for k in found.table.ks if k == 1 or k % 10 == 0]
  return Section(
    title=f"{name}: every voter, every k",
    folded=folded,
    figures=(
      Figure.of(
        plots.curves,
        {
          voter: {k: 100 * value for k, value in values.items()}
          for voter, values in accuracy.items()
        },
        name=f"voters_{tables.file_name(name)}",
        caption="Test accuracy at every k, with its exact 95 % interval.",
        bands={
          voter: _band(found.table, row)
          for row, voter in enumerate(found.table.names)
        },
        x_label="k, the number of neighbors that vote",
        y_label="accuracy (%)",
      ),
    ),
    tables=(
      Table(
        header=("k", *accuracy),
        rows=tuple(
          (str(k), *(_percent(values[k]) for values in accuracy.values()))
          for k in ks
        ),
        caption="Test accuracy in percent.",
        name=f"voters_{tables.file_name(name)}",
      ),
    ),
  )


def summary(found: Mapping[str, Comparison]) -> Section:
  """All encoders: the honest number beside the published one."""
  return Section(
    title="One number per voter",
    finding=" ".join(
      f"{name}: the tuning rows prefer {value.overall.name} at"
      f" k = {value.overall.k}, which is right for"
      f" {tables.share(value.scored[value.overall.name].accuracy)} of the"
      " test queries,"
      f" {tables.change(value.gains[value.overall.name].interval)} points"
      " against the nearest row alone ("
      f"{tables.p_words(value.gains[value.overall.name].p_value)})."
      for name, value in found.items()
    ),
    prose=(
      "Honest: k is chosen on tuning rows of the memory, each left out of its"
      " own neighbors, and the test queries are scored once, with a 95 %"
      " bootstrap interval. As published: the best k on the test queries"
      " themselves, which flatters.",
    ),
    figures=(_overlaid(found),) if len(found) > 1 else (),
    tables=(
      Table(
        header=(
          "encoder", "voter", "k chosen", "accuracy (%)",
          "gain over k = 1", "p", "as published: k", "as published (%)",
        ),
        rows=tuple(
          row for name, value in found.items() for row in _rows(name, value)
        ),
        name="summary",
      ),
    ),
  )  # fmt: skip


def sensitivity(
  name: str, sweeps: Mapping[str, Sweep], *, folded: bool = False
) -> Section:
  """Hyper-parameters at every k, from one retrieval."""
  return Section(
    title=f"{name}: sensitivity to hyper-parameters",
    folded=folded,
    prose=(
      "Test accuracy at the k that the tuning rows choose for each value, at"
      " the k that is best on the test queries (as published), and at two"
      " fixed k. Every point votes over the same neighbors.",
    ),
    figures=tuple(
      _sweep_figure(name, voter, found) for voter, found in sweeps.items()
    ),
    tables=(
      Table(
        header=(
          "voter", "hyper-parameter", "value chosen", "k chosen",
          "accuracy (%)", "as published: value", "k", "as published (%)",
        ),
        rows=tuple(_sweep_row(found) for found in sweeps.values()),
        caption="Value and k chosen together on the tuning rows; as published,"
        " on the test queries.",
        name=f"sensitivity_{tables.file_name(name)}",
      ),
    ),
  )  # fmt: skip


def comparison_values(found: Comparison) -> dict[str, Any]:
  """A comparison for report.json."""
  return {
    "accuracy": found.table.accuracy(),
    "honest": {
      name: {
        "k": found.choices[name].k,
        "tuning_accuracy": found.choices[name].accuracy,
        "accuracy": vars(scored.accuracy),
        "gain_over_nearest": found.gains[name].values(),
      }
      for name, scored in found.scored.items()
    },
    "chosen": {
      "voter": found.overall.name,
      "k": found.overall.k,
      "accuracy": found.scored[found.overall.name].accuracy.mean,
      "by": f"{found.overall.num_queries} tuning rows",
    },
    "as_published": {
      name: {"k": k, "accuracy": value}
      for name, (k, value) in found.published.items()
    },
  }


def overlays(values: Mapping[str, Any]) -> list[Overlay]:
  """Every voter by k, and by its hyper-parameter, for all encoders at once.

  Args:
    values: for report.json, by encoder.
  """
  first = next(iter(values.values()))
  return [
    *(
      Overlay(
        name=f"accuracy_{voter}", x_label="neighbors that vote (k)",
        y_label=f"accuracy, {voter} vote (%)", x_log=True,
        lines={
          name: {k: 100 * x for k, x in found["accuracy"][voter].items()}
          for name, found in values.items()
        },
      )
      for voter in first["accuracy"]
    ),
    *(
      Overlay(
        name=f"sweep_{voter}", x_label=f"{swept['hyper']} of the {voter} vote",
        y_label="accuracy at the k of the tuning rows (%)",
        lines={
          name: {
            one["value"]: 100 * one["accuracy"]
            for one in found["sweeps"][voter]["values"]
          }
          for name, found in values.items()
        },
      )
      for voter, swept in first["sweeps"].items()
      if len(swept["values"]) > 1
    ),
  ]  # fmt: skip


def sweep_values(found: Sweep) -> dict[str, Any]:
  """A sweep for report.json: at each value, chosen and best k."""
  row, column = found.chosen()
  tuned = found.tuning.argmax(axis=1)
  best = found.held_out.argmax(axis=1)
  return {
    "hyper": found.hyper,
    "chosen": {
      "value": found.values[row],
      "k": found.ks[column],
      "accuracy": found.held_out[row, column],
    },
    "values": [
      {
        "value": value,
        "k": found.ks[tuned[i]],
        "accuracy": found.held_out[i, tuned[i]],
        "as_published": {
          "k": found.ks[best[i]],
          "accuracy": found.held_out[i, best[i]],
        },
      }
      for i, value in enumerate(found.values)
    ],
  }


def _overlaid(found: Mapping[str, Comparison]) -> Figure:
  """Each encoder by the voter that its tuning rows prefer, at every k."""
  lines, bands = {}, {}
  for name, one in found.items():
    voter = one.overall.name
    label = f"{name} ({voter})"
    lines[label] = {
      k: 100 * value for k, value in one.table.accuracy()[voter].items()
    }
    bands[label] = _band(one.table, one.table.names.index(voter))
  return Figure.of(
    plots.curves,
    lines,
    name="encoders",
    caption="Every encoder by the voter that its tuning rows prefer, with exact"
    " 95 % intervals.",
    bands=bands,
    x_label="k, the number of neighbors that vote",
    y_label="accuracy (%)",
  )


def _band(table, row) -> dict[int, tuple[float, float]]:
  """The exact intervals of one voter's accuracy, in percent, by k."""
  return {
    k: tables.span(exact_share(int(correct), table.total))[1:]
    for k, correct in zip(table.ks, table.correct[row], strict=True)
  }


def _rows(encoder, found):
  """One row per voter of an encoder."""
  for name, scored in found.scored.items():
    gain = found.gains[name]
    k, best = found.published[name]
    yield (
      encoder,
      name,
      str(found.choices[name].k),
      tables.interval(scored.accuracy, digits=2),
      tables.change(gain.interval),
      tables.p_value(gain.p_value),
      str(k),
      _percent(best),
    )


def _sweep_figure(name, voter, found):
  """Accuracy against the hyper-parameter."""
  tuned = found.tuning.argmax(axis=1)
  by_k = {k: i for i, k in enumerate(found.ks)}
  lines = {
    "k chosen on tuning rows": found.held_out[range(len(tuned)), tuned],
    "best k on test (as published)": found.held_out.max(axis=1),
  } | {f"k = {k}": found.held_out[:, by_k[k]] for k in (10, 100) if k in by_k}
  return Figure.of(
    plots.curves,
    {
      label: dict(zip(found.values, 100 * accuracy, strict=True))
      for label, accuracy in lines.items()
    },
    name=f"sensitivity_{tables.file_name(name)}_{voter}",
    x_label=f"{found.hyper} of the {voter} vote",
    y_label="accuracy (%)",
    x_log=min(found.values) > 0,
  )


def _sweep_row(found):
  """What was chosen, and what looks best on the test queries."""
  values = sweep_values(found)
  chosen = values["chosen"]
  best = max(values["values"], key=lambda v: v["as_published"]["accuracy"])
  return (
    found.voter,
    found.hyper,
    f"{chosen['value']:g}",
    str(chosen["k"]),
    _percent(chosen["accuracy"]),
    f"{best['value']:g}",
    str(best["as_published"]["k"]),
    _percent(best["as_published"]["accuracy"]),
  )


_percent = functools.partial(tables.percent, digits=2)
