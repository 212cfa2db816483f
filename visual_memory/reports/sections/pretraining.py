"""What a pretraining or a learned encoder tells on its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.reports import plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table

_FIGURES = {
  "loss": ("loss", ("loss",)),
  "entropy": ("entropy, nats", ("teacher_entropy", "batch_entropy")),
  "mean_similarity": ("similarity of any views", ("mean_similarity",)),
  "score": ("accuracy of tuning rows", ("score",)),
  "images_per_s": ("images per second", ("images_per_s",)),
}


def curves(lines: Sequence[Mapping[str, Any]]) -> Section:
  """Every curve of a training log.

  Args:
    lines: of metrics.jsonl; a step that comes twice counts as its last.
  """
  figures = []
  for name, (label, metrics) in _FIGURES.items():
    found = {
      metric: {line["step"]: line[metric] for line in lines if metric in line}
      for metric in metrics
    }
    found = {metric: values for metric, values in found.items() if values}
    if found:
      svg = plots.curves(found, name=name, x_label="step", y_label=label)
      figures.append(Figure(name=name, svg=svg))
  return Section(
    title="Training",
    prose=(
      "A collapse would show: the entropies of single answers and of the"
      " batch's mean meet (all images alike), or that of single answers stays"
      " at its maximum (no preference).",
    ),
    figures=tuple(figures),
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
