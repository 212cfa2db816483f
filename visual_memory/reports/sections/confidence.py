"""Calibration (figure 15) and abstention."""

import math
from collections.abc import Mapping
from typing import Any

from visual_memory.analysis.calibration import Bins, Calibrated
from visual_memory.analysis.confidence import Calibration, ConfidentVote
from visual_memory.reports import figures, plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent

_COVERAGES = (0.1, 0.2, 0.5, 0.8, 1.0)


def calibration(found: Mapping[str, ConfidentVote]) -> Section:
  """Every voter: does a confidence of 80 % mean right in 80 %?"""
  return Section(
    title="Calibration of every voter",
    finding=_finding(found),
    prose=(
      "Raw: a class's share of the vote, with one more vote spread over all"
      " classes. Fitted: temperature and smoothing from the tuning rows, by"
      " likelihood. ECE: mean gap between confidence and accuracy over bins;"
      " Brier and NLL (nats) judge all classes' probabilities; smaller is"
      " better throughout.",
    ),
    figures=tuple(
      Figure.of(
        figures.calibration,
        {name: getattr(v, kind).bins for name, v in found.items()},
        name=f"calibration_{kind}",
        caption=f"Reliability diagram, {kind}; on the diagonal, confidence is"
        " accuracy. Below, how many queries each bin has; bars are exact 95 %"
        " intervals.",
        x_label=f"confidence (%), {kind}",
        diagonal=True,
      )
      for kind in ("raw", "fitted")
    ),
    tables=(
      Table(
        header=(
          "voter", "k", "probabilities", "temperature", "smoothing",
          "ECE (%)", "adaptive ECE (%)", "Brier", "NLL",
        ),
        rows=tuple(
          row for name, vote in found.items() for row in _rows(name, vote)
        ),
        name="calibration",
      ),
    ),
  )  # fmt: skip


def linear(found: Calibrated, *, strength: float) -> Section:
  """The same of a linear probe of the same rows, as figure 15, left."""
  return Section(
    title="Calibration of a linear probe",
    folded=True,
    finding=(
      "The linear probe's confidence misses its accuracy by"
      f" {percent(found.bins.ece())} points on average."
    ),
    prose=(
      "Softmax of a logistic regression on the memory's rows, fitted by L-BFGS"
      f" (strength = {strength:.3g}, chosen on tuning rows by accuracy).",
    ),
    figures=(
      Figure.of(
        figures.calibration,
        {"linear probe": found.bins},
        name="calibration_linear",
        x_label="confidence (%)",
        diagonal=True,
      ),
    ),
    tables=(
      Table(
        header=("ECE (%)", "adaptive ECE (%)", "Brier", "NLL"),
        rows=(
          _told(found),
        ),
        name="calibration_linear",
      ),
    ),
  )  # fmt: skip


def linear_values(found: Calibrated, *, strength: float) -> dict[str, Any]:
  """The same for report.json."""
  return {
    "strength": strength,
    **_scores(found),
    "bins": bins_values(found.bins),
  }


def published_bins(counts: Bins, entropies: Bins, published: Bins) -> Section:
  """Accuracy by unanimity and by entropy, as figure 15."""
  return Section(
    title="Counts and entropy",
    folded=True,
    prose=(
      "Accuracy of the plurality class, by how many of the neighbors have it,"
      " and by one minus the entropy of their labels. The published analysis"
      " drops unanimous queries and divides by the largest entropy seen; both"
      " are undone here, and shown beside.",
    ),
    figures=(
      Figure.of(
        figures.calibration,
        {"counts": counts},
        name="counts",
        x_label="neighbors with the plurality class (%)",
        diagonal=True,
      ),
      Figure.of(
        figures.calibration,
        {
          "relative to log2(C)": entropies,
          "to the largest (as published)": published,
        },
        name="entropy",
        x_label="1 - entropy / largest entropy (%)",
        diagonal=True,
      ),
    ),
  )


def abstention(found: Mapping[str, ConfidentVote]) -> Section:
  """How accurate the answered queries are if the unsure are declined."""
  return Section(
    title="Abstention",
    folded=True,
    prose=(
      "Accuracy of the most confident queries. The thresholds of the last"
      " table were set on tuning rows to reach an accuracy there; beside them,"
      " how many test queries are answered then, and how well.",
    ),
    figures=(
      Figure.of(
        plots.curves,
        {name: _selective(v.fitted) for name, v in found.items()},
        name="abstention",
        x_label="queries answered (%)",
        y_label="accuracy of those (%)",
      ),
    ),
    tables=(
      Table(
        header=(
          "voter",
          *(f"{percent(c, digits=0)} %" for c in _COVERAGES),
          "AURC",
        ),
        rows=tuple(
          (
            name,
            *(
              percent(vote.fitted.selective.accuracy_at(c)) for c in _COVERAGES
            ),
            f"{vote.fitted.selective.area():.4f}",
          )
          for name, vote in found.items()
        ),
        caption="Accuracy (%) of the surest so many queries; AURC: their mean"
        " error over all such shares.",
        name="abstention",
      ),
      Table(
        header=(
          "voter",
          *(
            f"{percent(p, digits=0)} % promised"
            for p in next(iter(found.values())).promised
          ),
        ),
        rows=tuple(
          (name, *map(_kept, vote.promised.values()))
          for name, vote in found.items()
        ),
        caption="Accuracy reached (queries answered), %.",
        name="promises",
      ),
    ),
  )


def _kept(promise) -> str:
  """What a promise came to: accuracy, and how many are answered."""
  _, coverage, reached = promise
  if reached is None:
    return "none answered"
  return f"{percent(reached)} ({percent(coverage)})"


def values(found: Mapping[str, ConfidentVote]) -> dict[str, Any]:
  """All of it for report.json."""
  return {
    name: {
      "k": vote.choice.k,
      "raw": _calibration_values(vote.raw),
      "fitted": _calibration_values(vote.fitted),
      "promised": {
        promise: {
          # Without one that keeps the promise nobody is answered.
          "threshold": threshold if math.isfinite(threshold) else None,
          "coverage": coverage,
          "accuracy": reached,
        }
        for promise, (threshold, coverage, reached) in vote.promised.items()
      },
    }
    for name, vote in found.items()
  }


def bins_values(bins: Bins) -> dict[str, Any]:
  """Bins for report.json."""
  return vars(bins) | {"ece": bins.ece()}


def _calibration_values(found: Calibration) -> dict[str, Any]:
  return {
    "temperature": found.model.temperature,
    "smoothing": found.model.smoothing,
    **_scores(found),
    "aurc": found.selective.area(),
    "accuracy_at_coverage": {
      c: found.selective.accuracy_at(c) for c in _COVERAGES
    },
  }


def _scores(found: Calibrated) -> dict[str, float]:
  """The numbers of a calibration."""
  return {
    "ece": found.bins.ece(),
    "adaptive_ece": found.adaptive_bins.ece(),
    "brier": found.brier,
    "nll": found.nll,
  }


def _told(found: Calibrated) -> tuple[str, ...]:
  """The same, as cells of a table."""
  scores = _scores(found)
  return (
    percent(scores["ece"], digits=2),
    percent(scores["adaptive_ece"], digits=2),
    f"{found.brier:.4f}",
    f"{found.nll:.4f}",
  )


def _rows(name, vote):
  """A row for each kind of probabilities."""
  for kind in ("raw", "fitted"):
    found = getattr(vote, kind)
    yield (
      name,
      str(vote.choice.k),
      kind,
      f"{found.model.temperature:.3f}",
      f"{found.model.smoothing:.4f}",
      *_told(found),
    )


def _finding(found) -> str:
  """The best calibrated voter, before and after fitting."""
  gap = lambda name: found[name].fitted.bins.ece()
  best = min(found, key=gap)
  return (
    f"Fitted on tuning rows, the {best} vote's confidence misses its accuracy"
    f" by {percent(gap(best))} points on average (raw:"
    f" {percent(found[best].raw.bins.ece())})."
  )


def _selective(found):
  """The curve at every percent of coverage, from 2 % on."""
  return {
    covered: 100 * found.selective.accuracy_at(covered / 100)
    for covered in range(2, 101)
  }
