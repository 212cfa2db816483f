"""Figures of answers: by class, what is taken for what, and by confidence."""

from collections.abc import Mapping

import numpy as np

from visual_memory.analysis.calibration import Bins
from visual_memory.analysis.intervals import exact_share
from visual_memory.reports import drawing
from visual_memory.reports.results import Results

_MOST_CLASSES = 40
_MOST_NUMBERED = 20
_WORST = 20


@drawing.drawn
def class_figure(found: Results) -> str:
  """Accuracy of each class, worst first; beyond 40 classes, the 20 worst."""
  right, counts = found.per_class()
  classes = np.flatnonzero(counts)
  fraction = right[classes] / counts[classes]
  order = np.argsort(fraction, kind="stable")
  label = "accuracy (%)"
  if len(order) > _MOST_CLASSES:
    label = f"accuracy (%), the {_WORST} worst of {len(order)} classes"
    order = order[:_WORST]
  classes, shares = classes[order], 100 * fraction[order]
  with drawing.style("classes"):
    figure = drawing.new_figure(4.8, 0.9 + 0.26 * len(classes))
    axes = figure.add_subplot()
    rows = np.arange(len(classes))
    axes.barh(rows, np.full(len(classes), 100), color=drawing.INK, alpha=0.08)
    axes.barh(rows, shares, color=drawing.COLORS[0])
    for row, c, value in zip(rows, classes, shares, strict=True):
      axes.annotate(
        f"{value:.1f}  ({right[c]} of {counts[c]})",
        (100, row),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
      )
    axes.set_yticks(
      rows, labels=[_short(found.class_names[c]) for c in classes]
    )
    axes.set_xlim(0, 100)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    return drawing.svg(figure)


@drawing.drawn
def confusion_figure(found: Results) -> str:
  """The confusion matrix, rows adding up to 100 %.

  A cell's strength is its share of its row: green where right, red where
  wrong. Classes without queries are left out as rows.
  """
  num_classes = len(found.class_names)
  counts = found.confusion()
  names = [_short(name) for name in found.class_names]
  rows = np.flatnonzero(counts.sum(axis=1))
  counts = counts[rows]
  share = counts / counts.sum(axis=1, keepdims=True)
  right = rows[:, None] == np.arange(num_classes)
  with drawing.style("confusion"):
    side = max(4.8, 0.3 * num_classes)
    figure = drawing.new_figure(
      side, side * (0.25 + 0.65 * len(rows) / num_classes)
    )
    axes = figure.add_subplot()
    for (i, j), value in np.ndenumerate(share):
      if value:
        # The square root lets a handful of errors be seen.
        color = drawing.RIGHT if right[i, j] else drawing.WRONG
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
    return drawing.svg(figure)


def _cell(x: int, y: int, *, color: str, alpha: float):
  """A unit square of a matrix, with a hair of space around it."""
  from matplotlib.patches import Rectangle

  return Rectangle(
    (x - 0.47, y - 0.47), 0.94, 0.94, color=color, alpha=alpha, linewidth=0
  )


def _short(name: str, most: int = 18) -> str:
  """A name that leaves room for the plot."""
  return name if len(name) <= most else name[: most - 1] + "…"


@drawing.drawn
def calibration(
  groups: Mapping[str, Bins],
  *,
  name: str,
  x_label: str,
  diagonal: bool,
  size: tuple[float, float] = (4.8, 4.2),
) -> str:
  """Accuracy of each bin with its exact interval, above the bins' sizes.

  Args:
    groups: the bins by name.
    name: of the figure, unique on its page.
    x_label: what confidence is.
    diagonal: whether confidence should equal accuracy.
    size: width and height in inches.
  """
  with drawing.style(name):
    figure = drawing.new_figure(*size)
    above, below = figure.subplots(
      2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)}
    )
    if diagonal:
      above.axline((0, 0), slope=1, color=drawing.INK, alpha=0.4, linewidth=1)
    for i, (label, bins) in enumerate(groups.items()):
      color = drawing.COLORS[i % len(drawing.COLORS)]
      found = [
        exact_share(float(share * count), int(count))
        for share, count in zip(bins.accuracy, bins.counts, strict=True)
      ]
      xs, middles = 100 * bins.confidence, [100 * x.mean for x in found]
      reach = [
        [100 * (x.mean - x.low) for x in found],
        [100 * (x.high - x.mean) for x in found],
      ]
      above.errorbar(
        xs,
        middles,
        yerr=reach,
        color=color,
        label=label,
        marker=drawing.MARKERS[i % len(drawing.MARKERS)],
        markersize=4,
        linewidth=1.3,
        elinewidth=0.9,
      )
      below.vlines(xs, 0, bins.counts, color=color, linewidth=3, alpha=0.7)
    above.set_ylim(-2, 102)
    above.set_ylabel("accuracy (%)")
    below.set_ylim(bottom=0)
    below.set_ylabel("queries")
    below.set_xlabel(x_label)
    for axes in (above, below):
      axes.grid()
    if len(groups) > 1:
      figure.legend(loc="outside upper left", ncols=len(groups), fontsize=8.5)
    return drawing.svg(figure)
