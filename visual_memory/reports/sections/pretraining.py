"""What a pretraining or a learned encoder tells on its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.reports import plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table

_CURVES = {
  "loss": "mean loss since the line before",
  "teacher_entropy": "entropy of one answer of the teacher (nats)",
  "batch_entropy": "entropy of the batch's mean answer (nats)",
  "mean_similarity": "mean similarity of any two views",
  "score": "accuracy of tuning rows, each left out",
  "images_per_s": "images per second",
}


def curves(lines: Sequence[Mapping[str, Any]]) -> Section:
  """Every curve of a training log.

  Args:
    lines: of metrics.jsonl; a step that comes twice counts as its last.
  """
  found = {
    name: {line["step"]: line[name] for line in lines if name in line}
    for name in _CURVES
  }
  return Section(
    title="Training",
    prose=(
      "A collapse would show: entropies that meet (all images alike), or an"
      " entropy of the teacher that stays at its maximum (no preference).",
    ),
    figures=tuple(
      Figure(
        name=name,
        svg=plots.curves(
          {name: values},
          name=name,
          x_label="step",
          y_label=_CURVES[name],
        ),
      )
      for name, values in found.items()
      if values
    ),
  )


def encoder_file(report: Mapping[str, Any]) -> Section:
  """The facts of an encoder file, by name."""
  return Section(
    title="Encoder file",
    prose=(
      "load_encoder('procedural', weights=PATH) reads it; in the package's"
      " folder of shipped encoders it is known by its own name.",
    ),
    tables=(
      Table(
        header=("what", "value"),
        text=True,
        rows=tuple((name, str(value)) for name, value in report.items()),
      ),
    ),
  )
