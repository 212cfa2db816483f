"""One self-contained page about a run: no scripts, no requests, no servers.

  text = render_html(report)

Everything is inside: style, figures and thumbnails. The page forbids itself
(by its content security policy) to load anything else. The same report gives
the same bytes. Needs jinja2 and matplotlib, which the `plots` extra brings.
"""

from typing import Any

from visual_memory.reports import drawing, figures, rendering, results, tables
from visual_memory.reports.results import Report, Results

_MOST_CONFUSED = 8


def render_html(report: Report) -> str:
  """The page as text.

  Raises:
    ImportError: jinja2 or matplotlib is absent; names the extra.
  """
  drawing.require_plots()
  template = rendering.environment().get_template("report.html.jinja")
  return template.render(
    report=report,
    title=report.title,
    css=rendering.css(),
    main=_view(report.results),
    query_sets={
      name: _view(value) for name, value in report.query_sets.items()
    },
    tiles=_tiles(report),
    figures={name: rendering.inline(svg) for name, svg in draw(report).items()},
    confused=results.most_confused(report.results, limit=_MOST_CONFUSED),
    gallery=[rendering.card(item) for item in report.gallery],
    num_right=sum(item.right for item in report.gallery),
    config=rendering.pretty(report.config),
    env=report.env,
    env_text=rendering.pretty(report.env),
  )


def draw(report: Report) -> dict[str, str]:
  """The report's figures, SVG documents by name."""
  drawn = {
    "accuracy": figures.accuracy_figure(report.results.accuracy),
    "classes": figures.class_figure(report.results),
    "confusion": figures.confusion_figure(report.results),
  }
  return {name: svg for name, svg in drawn.items() if svg is not None}


def _view(found: Results) -> dict[str, Any]:
  """A query set's numbers, arranged as its table shows them."""
  best_of = {
    voter: max(values.values()) for voter, values in found.accuracy.items()
  }
  voter, k, value = found.best()
  return {
    "results": found,
    "rows": [
      (
        k,
        [
          {
            "accuracy": values.get(k),
            "best": values.get(k) == best_of[voter],
            "chosen": (voter, k) == (found.voter, found.k),
          }
          for voter, values in found.accuracy.items()
        ],
      )
      for k in tables.all_ks(found.accuracy)
    ],
    "best": {"voter": voter, "k": k, "accuracy": value},
    "absent": [found.class_names[label] for label in found.absent_classes],
  }


def _tiles(report: Report) -> list[tuple[str, str]]:
  """The counts worth seeing first: (number, what it counts)."""
  shown = {
    **report.counts,
    "queries": len(report.results.labels),
    "classes": len(report.results.class_names),
    "skipped images": len(report.skipped),
  }
  return [
    (f"{value:,}", name.replace("_", " "))
    for name, value in shown.items()
    if value or name != "skipped images"
  ]
