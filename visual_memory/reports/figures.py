"""Figures of a report, as SVG text that takes on the color of its page.

Axes and text are drawn in `currentColor` and the background is left clear, so
one figure suits a light and a dark page. The same input gives the same bytes.
Needs matplotlib, which the `plots` extra brings.
"""

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from visual_memory.reports import tables
from visual_memory.reports.results import Results

if TYPE_CHECKING:
  from matplotlib.figure import Figure

RIGHT = "#1a9c6b"
"""Green that reads on white and on black, and stays apart from WRONG."""
WRONG = "#e0533d"
VOTER_COLORS = ("#3b7dd8", "#e08a1e", "#1a9c6b", "#c04fa0", "#7d8590")
_MARKERS = ("o", "s", "D", "^", "v")
_INK = "#123456"  # Drawn nowhere else: becomes currentColor.
_STYLE = {
  "axes.edgecolor": _INK,
  "axes.labelcolor": _INK,
  "axes.linewidth": 0.8,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "font.size": 10,
  "grid.color": _INK,
  "grid.alpha": 0.15,
  "legend.frameon": False,
  "svg.fonttype": "none",
  "text.color": _INK,
  "text.parse_math": False,
  "xtick.color": _INK,
  "ytick.color": _INK,
}
_MOST_CLASSES = 40
_MOST_NUMBERED = 20
_WORST = 20
_MOST_TICKS = 8


def accuracy_figure(accuracy: Mapping[str, Mapping[int, float]]) -> str:
  """Accuracy in percent against k, on a log axis, one line per voter."""
  with _style("accuracy"):
    figure = _figure(4.8, 3.4)
    axes = figure.add_subplot()
    for i, (voter, values) in enumerate(accuracy.items()):
      ks = sorted(values)
      axes.plot(
        ks,
        [100 * values[k] for k in ks],
        color=VOTER_COLORS[i % len(VOTER_COLORS)],
        label=voter,
        linewidth=1.8,
        marker=_MARKERS[i % len(_MARKERS)],
        markersize=4.5 if len(ks) <= 20 else 0,
      )
    ticks = _few(tables.all_ks(accuracy))
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels=[str(k) for k in ticks])
    axes.minorticks_off()
    axes.set_xlabel("k, the number of neighbors that vote")
    axes.set_ylabel("accuracy (%)")
    axes.grid()
    axes.legend()
    return _svg(figure)


def lines_figure(
  lines: Mapping[str, Mapping[float, float]],
  *,
  name: str,
  x_label: str,
  y_label: str,
) -> str:
  """Values against sizes, both on log axes, one line per name.

  Args:
    lines: {name: {size: value}}, all positive.
    name: of the figure, unique on its page.
    x_label: what the sizes are.
    y_label: what the values are.
  """
  with _style(name):
    figure = _figure(6.4, 4.2)
    axes = figure.add_subplot()
    for i, (label, values) in enumerate(lines.items()):
      sizes = sorted(values)
      axes.plot(
        sizes,
        [values[size] for size in sizes],
        color=VOTER_COLORS[i % len(VOTER_COLORS)],
        label=label,
        linewidth=1.6,
        linestyle="-" if i < len(VOTER_COLORS) else "--",
        marker=_MARKERS[i % len(_MARKERS)],
        markersize=4.5,
      )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid()
    figure.legend(loc="outside right upper", fontsize=8)
    return _svg(figure)


def class_figure(results: Results) -> str:
  """Accuracy of each class, worst first; beyond 40 classes, the 20 worst."""
  right, counts = results.per_class()
  classes = np.flatnonzero(counts)
  fraction = right[classes] / counts[classes]
  order = np.argsort(fraction, kind="stable")
  label = "accuracy (%)"
  if len(order) > _MOST_CLASSES:
    label = f"accuracy (%), the {_WORST} worst of {len(order)} classes"
    order = order[:_WORST]
  classes, values = classes[order], 100 * fraction[order]
  with _style("classes"):
    figure = _figure(4.8, 0.9 + 0.26 * len(classes))
    axes = figure.add_subplot()
    places = np.arange(len(classes))
    axes.barh(places, np.full(len(classes), 100), color=_INK, alpha=0.08)
    axes.barh(places, values, color=VOTER_COLORS[0])
    for place, c, value in zip(places, classes, values, strict=True):
      axes.annotate(
        f"{value:.1f}  ({right[c]} of {counts[c]})",
        (100, place),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
      )
    axes.set_yticks(
      places, labels=[_short(results.class_names[c]) for c in classes]
    )
    axes.set_xlim(0, 100)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    return _svg(figure)


def confusion_figure(results: Results) -> str | None:
  """The confusion matrix, rows adding up to 100 %; None beyond 40 classes.

  A cell's strength is its share of its row: green where right, red where
  wrong. Classes without queries are left out as rows.
  """
  num_classes = len(results.class_names)
  if num_classes > _MOST_CLASSES:
    return None
  counts = results.confusion()
  names = [_short(name) for name in results.class_names]
  rows = np.flatnonzero(counts.sum(axis=1))
  counts = counts[rows]
  share = counts / counts.sum(axis=1, keepdims=True)
  right = rows[:, None] == np.arange(num_classes)
  with _style("confusion"):
    side = max(4.8, 0.3 * num_classes)
    figure = _figure(side, side * (0.25 + 0.65 * len(rows) / num_classes))
    axes = figure.add_subplot()
    for (i, j), value in np.ndenumerate(share):
      if value:
        # The square root lets a handful of errors be seen.
        color = RIGHT if right[i, j] else WRONG
        axes.add_patch(_cell(j, i, color=color, alpha=0.15 + 0.8 * value**0.5))
        if num_classes <= _MOST_NUMBERED:
          axes.text(j, i, str(counts[i, j]), ha="center", va="center", size=8)
    axes.set_xlim(-0.5, num_classes - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks(range(num_classes), labels=names, rotation=90)
    axes.set_yticks(range(len(rows)), labels=[names[row] for row in rows])
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return _svg(figure)


def require_plots() -> None:
  """Raises ImportError, naming the extra, where pages cannot be drawn."""
  try:
    import jinja2  # noqa: F401
    import matplotlib  # noqa: F401
  except ImportError as error:
    raise ImportError(
      f"report.html needs {error.name}: pip install 'visual_memory[plots]'."
    ) from error


def _style(name: str):
  """The context in which a figure is drawn; its name makes its ids unique."""
  require_plots()
  import matplotlib

  return matplotlib.rc_context({**_STYLE, "svg.hashsalt": name})


def _figure(width: float, height: float) -> "Figure":
  """An empty figure, in inches, outside pyplot's global state."""
  from matplotlib.figure import Figure

  return Figure(figsize=(width, height), layout="constrained")


def _cell(x: int, y: int, *, color: str, alpha: float):
  """A unit square of the confusion matrix, with a hair of space around it."""
  from matplotlib.patches import Rectangle

  return Rectangle(
    (x - 0.47, y - 0.47), 0.94, 0.94, color=color, alpha=alpha, linewidth=0
  )


def _svg(figure: "Figure") -> str:
  """The figure as a standalone SVG document without dates."""
  buffer = io.StringIO()
  figure.savefig(
    buffer,
    format="svg",
    transparent=True,
    metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
  )
  text = buffer.getvalue().replace(_INK, "currentColor")
  return re.sub(r"<!DOCTYPE.*?>\n?", "", text, flags=re.DOTALL)


def _few(ks: list[int]) -> list[int]:
  """The ks to mark on a log axis: all, or of many those nearest 1, 2, 5, 10."""
  if len(ks) <= _MOST_TICKS:
    return ks
  decades = range(len(str(ks[-1])))
  wanted = [m * 10**d for d in decades for m in (1, 2, 5)]
  wanted = [w for w in wanted if ks[0] <= w <= ks[-1]]
  return sorted({min(ks, key=lambda k: abs(np.log(k / w))) for w in wanted})


def _short(name: str, most: int = 18) -> str:
  """A class name that leaves room for the plot."""
  return name if len(name) <= most else name[: most - 1] + "…"
