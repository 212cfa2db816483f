"""Accuracy against confidence, over how many queries say so; SVG text."""

from collections.abc import Mapping

from visual_memory.analysis.calibration import Bins
from visual_memory.analysis.intervals import exact_share
from visual_memory.reports import drawing


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
