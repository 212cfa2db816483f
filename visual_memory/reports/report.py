"""report.json, the tables, and the page with its figures, into a workdir.

  write_report(workdir.path, Report(title="digits", config=config, ...))

report.json holds `accuracy[voter][str(k)]` (fractions) and
`neighbors_fingerprint` of the main query set, the same of the others under
`query_sets[name]`, timings (seconds), counts, skipped images and edits.
"""

import dataclasses
import os
import pathlib
import warnings
from typing import Any

from visual_memory import files
from visual_memory.reports import html, results, tables
from visual_memory.reports.drawing import require_plots
from visual_memory.reports.results import Report, Results

_MOST_CONFUSED = 50


def write_report(workdir: str | os.PathLike, report: Report) -> None:
  """Writes report.json, accuracy.csv, accuracy.md, report.html and figures/.

  Each file appears whole; report.json comes first. To be called by the lead
  process alone. Without the `plots` extra, the page and the figures are left
  out, with a warning.

  Raises:
    ValueError: the workdir holds a report of another config; nothing is
      written.
  """
  folder = pathlib.Path(workdir)
  content = report_json(report)
  if (folder / "report.json").exists():
    old = files.read_json(folder / "report.json")
    files.refuse_other_config(
      folder / "report.json", old["config"], report.config
    )
  folder.mkdir(parents=True, exist_ok=True)
  files.write_json(folder / "report.json", content)
  table = tables.accuracy_table(report.results.accuracy)
  files.write_text(folder / "accuracy.csv", table.csv())
  files.write_text(folder / "accuracy.md", table.markdown())
  try:
    require_plots()
  except ImportError as error:
    warnings.warn(f"Only report.json was written: {error}", stacklevel=2)
    return
  (folder / "figures").mkdir(exist_ok=True)
  for name, svg in html.draw(report).items():
    files.write_text(folder / "figures" / f"{name}.svg", svg)
  files.write_text(folder / "report.html", html.render_html(report))


def report_json(report: Report) -> dict[str, Any]:
  """The content of report.json, as plain JSON values."""
  return files.plain(
    {
      "title": report.title,
      **_results_json(report.results),
      "query_sets": {
        name: _results_json(value) for name, value in report.query_sets.items()
      },
      "timings": report.timings,
      "counts": {
        **_query_counts(report.results),
        "skipped": len(report.skipped),
        **report.counts,
      },
      "skipped": [dataclasses.asdict(image) for image in report.skipped],
      "edits": [dataclasses.asdict(edit) for edit in report.edits],
      "config": report.config,
    }
  )


def _results_json(found: Results) -> dict[str, Any]:
  """One query set: the curves, the chosen setting, and class by class."""
  voter, k, accuracy = found.best()
  right, counts = found.per_class()
  return {
    "accuracy": found.accuracy,
    "neighbors_fingerprint": found.neighbors_fingerprint,
    "chosen": {
      "voter": found.voter,
      "k": found.k,
      "accuracy": found.chosen_accuracy,
      "by": found.chosen_by,
    },
    # Chosen on the queries it is scored on, as is often published.
    "best_on_these_queries": {"voter": voter, "k": k, "accuracy": accuracy},
    "classes": [
      {"name": name, "queries": int(counts[i]), "right": int(right[i])}
      for i, name in enumerate(found.class_names)
    ],
    "most_confused": [
      {"label": label, "prediction": prediction, "queries": count}
      for label, prediction, count in results.most_confused(
        found, limit=_MOST_CONFUSED
      )
    ],
    "query_counts": _query_counts(found),
    "absent_classes": [found.class_names[i] for i in found.absent_classes],
  }


def _query_counts(found: Results) -> dict[str, int]:
  """How many queries there are, and how many are out of the ordinary."""
  return {
    "queries": len(found.labels),
    "unlabeled_queries": found.num_unlabeled,
    "absent_class_queries": found.num_absent,
  }
