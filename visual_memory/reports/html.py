"""One self-contained page about a run: no scripts, no requests, no servers.

  text = render_html(report)

Everything is inside: style, figures and thumbnails. The page forbids itself
(by its content security policy) to load anything else. The same report gives
the same bytes. Needs jinja2 and matplotlib, which the `plots` extra brings.
"""

import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any

from visual_memory.reports import figures, files, gallery, results, tables
from visual_memory.reports.results import Report, Results

_MOST_CONFUSED = 8


def render_html(report: Report) -> str:
  """The page as text.

  Raises:
    ImportError: jinja2 or matplotlib is absent; names the extra.
  """
  figures.require_plots()
  import jinja2

  environment = jinja2.Environment(
    autoescape=True,
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters["percent"] = tables.percent
  environment.filters["short"] = lambda value: f"{value:.3g}"
  template = environment.from_string(_template("report.html.jinja"))
  return template.render(
    report=report,
    css=_template("report.css"),
    main=_view(report.results),
    query_sets={
      name: _view(value) for name, value in report.query_sets.items()
    },
    tiles=_tiles(report),
    figures={name: _inline(svg) for name, svg in draw(report).items()},
    confused=results.most_confused(report.results, limit=_MOST_CONFUSED),
    gallery=[_card(item) for item in report.gallery],
    num_right=sum(item.right for item in report.gallery),
    config=_pretty(report.config),
    env=_pretty(report.env),
  )


def draw(report: Report) -> dict[str, str]:
  """The report's figures, SVG documents by name."""
  drawn = {
    "accuracy": figures.accuracy_figure(report.results.accuracy),
    "classes": figures.class_figure(report.results),
    "confusion": figures.confusion_figure(report.results),
  }
  return {name: svg for name, svg in drawn.items() if svg is not None}


def _template(name: str) -> str:
  """The text of a file that is packaged beside this module."""
  folder = importlib.resources.files("visual_memory.reports") / "templates"
  return (folder / name).read_text(encoding="utf-8")


def _inline(svg: str) -> str:
  """An SVG document as it goes into a page.

  Without prolog and namespaces, and without the groups' ids, which would
  otherwise be those of every other figure too.
  """
  svg = re.sub(r"<\?xml.*?\?>\s*", "", svg)
  svg = re.sub(r'<g id="[^"]*"', "<g", svg)
  return re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)


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


def _card(item: gallery.GalleryItem) -> dict[str, Any]:
  """A gallery item with its pictures as data URIs and its bars' lengths."""
  largest = max((abs(n.weight or 0) for n in item.neighbors), default=0)
  return {
    "item": item,
    "picture": _picture(item.image),
    "neighbors": [
      {
        "neighbor": neighbor,
        "picture": _picture(neighbor.image),
        "length": abs(neighbor.weight or 0) / largest if largest else 0,
      }
      for neighbor in item.neighbors
    ],
  }


def _picture(image: Any) -> dict[str, Any] | None:
  """An image as the template draws it."""
  if image is None:
    return None
  uri, tiny = gallery.data_uri(image)
  return {"uri": uri, "tiny": tiny}


def _pretty(value: Mapping[str, Any]) -> str:
  """Nested values as indented JSON."""
  return json.dumps(files.plain(value), indent=2, ensure_ascii=False)
