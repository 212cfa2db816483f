"""A taxonomy on a page: curves of discovery, and accuracy on every level."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from visual_memory.analysis.discovery import DiscoveryCurve
from visual_memory.data.taxonomy import Taxonomy
from visual_memory.reports import plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent
from visual_memory.voting.hierarchy import Descent


def sections(
  curve: DiscoveryCurve,
  descent: Descent,
  tree: Taxonomy,
  *,
  left_out: Sequence[int] = (),
  labels: Int[np.ndarray, "T"],
  nearest: Int[np.ndarray, "T"],
) -> tuple[list[Section], dict[str, Any]]:
  """The sections of a page and the values for report.json.

  Args:
    curve: from `discovery_curve`.
    descent: from `descend`, of T queries.
    tree: the taxonomy.
    left_out: values of m for which a class has too few rows.
    labels: classes of these queries.
    nearest: classes of their nearest rows.
  """
  truth = tree.ancestors[labels]
  by_tests = (descent.nodes == truth).mean(axis=0)
  by_nearest = (tree.ancestors[nearest] == truth).mean(axis=0)
  values = {
    "discovery": {
      "levels": list(curve.levels),
      "exemplars": list(curve.exemplars),
      "accuracy": curve.accuracy.tolist(),
      "baseline": curve.baseline.tolist(),
      "redone_queries": curve.num_redone,
    },
    "descent": {
      "queries": len(labels),
      "by_tests": by_tests.tolist(),
      "by_nearest_row": by_nearest.tolist(),
      "untested_steps": descent.num_untested,
    },
    "nodes": [len(nodes) for nodes in tree.nodes],
  }
  return [
    _discovery(curve, left_out),
    _descent(descent, tree, by_tests, by_nearest),
  ], values


def _discovery(curve: DiscoveryCurve, left_out: Sequence[int]) -> Section:
  """Accuracy of every level against the number of exemplars."""
  left_out = ", ".join(map(str, left_out))
  too_many = f" Left out: m = {left_out}, since a class has fewer rows."
  lines = {
    level: dict(
      zip(curve.exemplars, 100 * curve.accuracy[:, place], strict=True)
    )
    for place, level in enumerate(curve.levels)
  }
  fits = {
    level: {m: 100 * curve.baseline[place] for m in curve.exemplars}
    for place, level in enumerate(curve.levels)
  }
  return Section(
    title="Discovering a class",
    finding=_finding(curve),
    prose=(
      "Each class in turn is new: the memory holds its first m rows and all"
      " rows of the others. A query of the new class takes the class of its"
      " nearest row. Dashed: always answering the level's largest node."
      + (too_many if left_out else ""),
    ),
    figures=(
      Figure.of(
        plots.curves,
        lines,
        name="discovery",
        x_label="rows of the new class (m)",
        y_label="accuracy (%)",
        fits=fits,
      ),
    ),
    tables=(
      Table(
        header=("m", *curve.levels),
        rows=(
          *(
            (str(m), *map(percent, row))
            for m, row in zip(curve.exemplars, curve.accuracy, strict=True)
          ),
          ("largest node", *map(percent, curve.baseline)),
        ),
        caption="Accuracy (%), mean over classes.",
        name="discovery",
      ),
    ),
  )


def _descent(descent, tree, by_tests, by_nearest) -> Section:
  """Accuracy of the descent beside the nearest row's."""
  return Section(
    title="Descending by Kolmogorov-Smirnov tests",
    prose=(
      f"{len(descent.nodes):,} queries go down the taxonomy, on each level to"
      " the child whose rows they resemble as these resemble each other."
      + f" {descent.num_untested:,} steps among children of one row each were"
      " decided by the nearest row." * bool(descent.num_untested),
    ),
    tables=(
      Table(
        header=("level", "nodes", "descent (%)", "nearest row (%)"),
        rows=tuple(
          (
            level,
            f"{len(tree.nodes[place]):,}",
            percent(by_tests[place]),
            percent(by_nearest[place]),
          )
          for place, level in enumerate(tree.levels)
        ),
        name="descent",
      ),
    ),
  )


def _finding(curve: DiscoveryCurve) -> str:
  """The finest level, without and with the most rows of the new class."""
  level, before = curve.levels[-1], curve.accuracy[0, -1]
  return (
    f"With {curve.exemplars[-1]} rows of a new class its {level} is right for"
    f" {percent(curve.accuracy[-1, -1])} % of the queries, with"
    f" {curve.exemplars[0]} for {percent(before)} %."
  )
