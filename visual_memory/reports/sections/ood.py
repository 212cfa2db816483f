"""Distances inside and outside of what the memory knows (figure 12)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from visual_memory.analysis.ood import Detection
from visual_memory.reports import plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent

_MOST_CLASSES = 30


def distances(
  scores: Mapping[str, Mapping[str, Float[np.ndarray, "_"]]], *, k: int
) -> Section:
  """Boxes and histograms of every query set's distances.

  Args:
    scores: {query set: {score: values}}, the inside first.
    k: how many neighbors the scores are of.
  """
  names = tuple(next(iter(scores.values())))
  return Section(
    title="Distances to the memory",
    prose=(
      f"Cosine distances of each query to its first {k} neighbors. Boxes go"
      " from quartile to quartile, whiskers at most 1.5 times as far again.",
    ),
    figures=(
      *(
        Figure.of(
          plots.boxes,
          {group: values[name] for group, values in scores.items()},
          name=f"boxes_{name.replace('-', '_')}",
          y_label=f"{name} distance",
        )
        for name in names
      ),
      Figure.of(
        plots.histograms,
        {group: values["mean"] for group, values in scores.items()},
        name="histogram_mean",
        x_label="mean distance",
      ),
    ),
  )


def detection(
  found: Mapping[str, Mapping[str, Mapping[int, Detection]]],
  by_k: Mapping[str, Float[np.ndarray, "k"]],
) -> Section:
  """How well each score tells outside from inside.

  Args:
    found: {outside set: {score: {k: Detection}}}.
    by_k: {outside set: AUROC of the k-th distance at every k}.
  """
  return Section(
    title="Detection by distance",
    finding=" ".join(_finding(name, scores) for name, scores in found.items()),
    prose=(
      "Outside queries are the positives; 50 % AUROC says nothing. Nothing is"
      " fitted, and k is not chosen: every one listed is shown.",
    ),
    figures=(
      Figure.of(
        plots.curves,
        {
          name: {k: 100 * value for k, value in enumerate(values, 1)}
          for name, values in by_k.items()
        },
        name="auroc_by_k",
        x_label="k",
        y_label="AUROC of the k-th distance (%)",
        x_log=True,
      ),
    ),
    tables=(
      Table(
        header=(
          "outside", "score", "k", "AUROC (%)", "AUPR (%)",
          "AUPR, inside (%)", "FPR95 (%)",
        ),
        rows=tuple(
          (name, score, str(k), *_numbers(value))
          for name, scores in found.items()
          for score, values in scores.items()
          for k, value in values.items()
        ),
        name="detection",
      ),
    ),
  )  # fmt: skip


def by_class(name: str, auroc: Mapping[str, float]) -> Section:
  """Which outside classes are noticed most and least."""
  order = sorted(auroc, key=auroc.get)
  if len(order) > _MOST_CLASSES:
    half = _MOST_CLASSES // 2
    order = order[:half] + order[-half:]
  return Section(
    title=f"{name}, class by class",
    prose=("AUROC of the mean distance, the least noticed classes first.",),
    tables=(
      Table(
        header=("class", "AUROC (%)"),
        rows=tuple((key, percent(auroc[key])) for key in order),
        name=f"classes_{name}",
      ),
    ),
  )


def values(found, by_k, classes) -> dict[str, Any]:
  """All of it for report.json."""
  return {
    name: {
      "detection": {
        score: {k: vars(value) for k, value in by.items()}
        for score, by in scores.items()
      },
      "auroc_by_k": by_k[name],
      "auroc_by_class": classes[name],
    }
    for name, scores in found.items()
  }


def _numbers(found: Detection) -> tuple[str, ...]:
  """The four measures in percent."""
  measures = (found.auroc, found.aupr, found.aupr_inside, found.fpr95)
  return tuple(percent(value, digits=2) for value in measures)


def _finding(name, scores) -> str:
  """The mean distance at the largest k, which nothing has chosen."""
  k, best = list(scores["mean"].items())[-1]
  return (
    f"By the mean distance to {k} neighbors, a query of {name} is told from one"
    f" of the memory's kind with an AUROC of {percent(best.auroc)} %."
  )
