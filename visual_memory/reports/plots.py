"""Plots for any analysis: curves, bars, boxes, histograms; SVG text.

  plots.curves(
    {"rank": {1: 40.5, 10: 44.1}, "plurality": {1: 40.5, 10: 42.7}},
    name="accuracy", x_label="k", y_label="accuracy (%)", x_log=True,
  )

All in the style of `drawing`; every line has a color and a marker of its own.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped

from visual_memory.reports import drawing

Number = float | int | np.number
"""NumPy's numbers are welcome."""
Span = tuple[Number, Number, Number]
"""An estimate and the two ends of its interval."""
_MOST_MARKED = 25
"""Lines of more points are drawn without markers."""
_LABEL_CHARACTERS = 32
"""What fits along the height of a plot; a longer label takes two lines."""
_LEAST_PERCENT = 10
"""Points that an axis of accuracies spans: two queries are no cliff."""


@drawing.drawn
def curves(
  lines: Mapping[str, Mapping[Number, Number]],
  *,
  name: str,
  x_label: str,
  y_label: str,
  x_log: bool = False,
  y_log: bool = False,
  bands: Mapping[str, Mapping[Number, tuple[Number, Number]]] | None = None,
  fits: Mapping[str, Mapping[Number, Number]] | None = None,
  fit_bands: Mapping[str, Mapping[Number, tuple[Number, Number]]] | None = None,
  diagonal: bool = False,
  size: tuple[float, float] = (4.8, 3.4),
) -> str:
  """Values against x, one line per name.

  Args:
    lines: {name: {x: y}}; a NaN leaves a gap.
    name: of the figure, unique on its page.
    x_label: what x is, with its unit.
    y_label: what y is, with its unit.
    x_log: whether x is on a log axis; likewise y_log.
    y_log: see x_log.
    bands: {name of a line: {x: (low, high)}}, drawn in the line's color.
    fits: {name: {x: y}}, dashed; one called as a line has its color, and no
      entry of its own in the legend.
    fit_bands: as bands, of the fits.
    diagonal: whether y = x is drawn, for reliability diagrams.
    size: width and height in inches.
  """
  # A log axis has no place for lines of nothing but zeros.
  y_log &= any(y > 0 for line in lines.values() for y in line.values())
  with drawing.style(name):
    figure = drawing.new_figure(*size)
    axes = figure.add_subplot()
    if diagonal:
      axes.axline((0, 0), slope=1, color=drawing.INK, alpha=0.4, linewidth=1)
    for i, (label, values) in enumerate(lines.items()):
      color = drawing.COLORS[i % len(drawing.COLORS)]
      xs = sorted(values)
      axes.plot(
        xs,
        [values[x] for x in xs],
        color=color,
        label=label,
        linewidth=1.7,
        linestyle=("-", "-.", ":")[i // len(drawing.COLORS) % 3],
        marker=drawing.MARKERS[i % len(drawing.MARKERS)],
        markersize=4.5 if len(xs) <= _MOST_MARKED else 0,
      )
      _band(axes, (bands or {}).get(label, {}), color)
    _fits(axes, fits or {}, fit_bands or {}, tuple(lines))
    _scales(axes, x_log, y_log)
    if not x_log and all(
      isinstance(x, int) for line in lines.values() for x in line
    ):  # There is no step or neighbor one and a half.
      axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(x_label)
    axes.set_ylabel(textwrap.fill(y_label, _LABEL_CHARACTERS))
    if not y_log and not diagonal:
      _accuracy_axis(axes.yaxis, y_label)
    axes.grid()
    _legend(figure, axes)
    return drawing.svg(figure)


@drawing.drawn
def bars(
  groups: Mapping[str, Mapping[str, Number | Span]],
  *,
  name: str,
  y_label: str,
  x_label: str = "",
  size: tuple[float, float] = (4.8, 3.4),
) -> str:
  """Bars from zero, side by side, one color per series.

  Args:
    groups: {series: {group: value, or (value, low, high)}}; intervals are
      drawn as error bars.
    name: of the figure, unique on its page.
    y_label: what the values are, with their unit.
    x_label: what the groups are.
    size: width and height in inches.
  """
  with drawing.style(name):
    figure = drawing.new_figure(*size)
    axes = figure.add_subplot()
    labels = list(
      dict.fromkeys(key for values in groups.values() for key in values)
    )
    width = 0.8 / max(1, len(groups))
    room = len(labels) * max(map(len, labels), default=0)  # For the longest.
    for i, (series, values) in enumerate(groups.items()):
      places = np.array([labels.index(key) for key in values], float)
      places += (i - (len(groups) - 1) / 2) * width
      heights, errors = _errors(values.values())
      axes.bar(
        places,
        heights,
        width=0.92 * width,
        color=drawing.COLORS[i % len(drawing.COLORS)],
        label=series,
        yerr=errors,
        error_kw={"ecolor": drawing.INK, "elinewidth": 1.1, "capsize": 2},
      )
    axes.set_xticks(
      range(len(labels)),
      labels=labels,
      rotation=90 if room > 70 else 0,
    )
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y")
    _legend(figure, axes)
    return drawing.svg(figure)


@drawing.drawn
def intervals(
  groups: Mapping[str, Mapping[str, Span]],
  *,
  order: Sequence[str],
  name: str,
  x_label: str,
  zero: bool = False,
  size: tuple[float, float] | None = None,
) -> str:
  """Points with intervals, one under the other, one color per group.

  Args:
    groups: {group: {row: (value, low, high)}}; groups that have the same rows
      stand side by side in them.
    order: the rows from above.
    name: of the figure, unique on its page.
    x_label: what the values are, with their unit.
    zero: whether a line marks zero, as for differences.
    size: width and height in inches; by default as high as the rows need.
  """
  rows = [row for values in groups.values() for row in values]
  shared = len(rows) > len(set(rows))
  per_row = 0.14 + 0.13 * len(groups) if shared else 0.27
  with drawing.style(name):
    figure = drawing.new_figure(*(size or (4.8, per_row * len(order) + 0.9)))
    axes = figure.add_subplot()
    if zero:
      axes.axvline(0, color=drawing.INK, alpha=0.4, linewidth=1)
    for i, (group, values) in enumerate(groups.items()):
      if not values:
        continue
      away = (i - (len(groups) - 1) / 2) * 0.7 / len(groups) if shared else 0
      middles, errors = _errors(values.values())
      axes.errorbar(
        middles,
        [order.index(row) + away for row in values],
        xerr=errors,
        fmt=drawing.MARKERS[i % len(drawing.MARKERS)],
        color=drawing.COLORS[i % len(drawing.COLORS)],
        label=group,
        markersize=5,
        elinewidth=1.7,
      )
    axes.set_yticks(range(len(order)), labels=list(order))
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlabel(x_label)
    if not zero:
      _accuracy_axis(axes.xaxis, x_label)
    axes.grid(axis="x")
    _legend(figure, axes)
    return drawing.svg(figure)


@drawing.drawn
def boxes(
  groups: Mapping[str, Shaped[np.ndarray, "_"]],
  *,
  name: str,
  y_label: str,
  size: tuple[float, float] = (4.8, 3.4),
) -> str:
  """Boxes from quartile to quartile, whiskers to 1.5 times their distance."""
  with drawing.style(name):
    figure = drawing.new_figure(*size)
    axes = figure.add_subplot()
    drawn = axes.boxplot(
      list(groups.values()),
      tick_labels=list(groups),
      patch_artist=True,
      showfliers=False,
      widths=0.5,
      medianprops={"color": drawing.INK, "linewidth": 1.5},
      whiskerprops={"color": drawing.INK},
      capprops={"color": drawing.INK},
      boxprops={"edgecolor": drawing.INK},
    )
    for i, box in enumerate(drawn["boxes"]):
      box.set_facecolor(drawing.COLORS[i % len(drawing.COLORS)])
    axes.set_ylabel(y_label)
    axes.grid(axis="y")
    return drawing.svg(figure)


@drawing.drawn
def histograms(
  groups: Mapping[str, Shaped[np.ndarray, "_"]],
  *,
  name: str,
  x_label: str,
  num_bins: int = 60,
  y_log: bool = False,
  size: tuple[float, float] = (4.8, 3.4),
) -> str:
  """The share of each group's values per bin, outlined, on common bins."""
  with drawing.style(name):
    figure = drawing.new_figure(*size)
    axes = figure.add_subplot()
    both = np.concatenate([np.asarray(values) for values in groups.values()])
    edges = np.histogram_bin_edges(both, bins=num_bins)
    for i, (label, values) in enumerate(groups.items()):
      color = drawing.COLORS[i % len(drawing.COLORS)]
      counts, _ = np.histogram(values, bins=edges)
      share = 100 * counts / max(1, len(values))
      axes.stairs(share, edges, color=color, alpha=0.3, fill=True)
      axes.stairs(share, edges, color=color, label=label, linewidth=1.5)
    if y_log:
      axes.set_yscale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel("share (%)")
    axes.grid()
    _legend(figure, axes)
    return drawing.svg(figure)


def _errors(values) -> tuple[list, np.ndarray | None]:
  """The estimates, and how far down and up their intervals reach, [2, n]."""
  values = list(values)
  if not any(isinstance(value, tuple) for value in values):
    return values, None
  spans = np.array([v if isinstance(v, tuple) else (v,) * 3 for v in values])
  middle, low, high = spans.astype(float).T
  reach = np.stack([middle - low, high - middle])
  return list(middle), np.maximum(reach, 0)


def _accuracy_axis(axis, label: str) -> None:
  """Widens an axis of shares in percent that would make much of little."""
  told = any(word in label for word in ("accuracy", "class among", "AUROC"))
  if not told or not label.endswith("(%)"):
    return
  low, high = axis.get_view_interval()
  missing = max(0, _LEAST_PERCENT - (high - low))
  low, high = low - missing / 2, high + missing / 2
  # Nothing is below none or above all, but a line on the edge is seen.
  over, under = max(0, high - 101), max(0, -1 - low)
  low, high = max(-1, low - over), min(101, high + under)
  axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})


def _band(axes, band, color) -> None:
  """Fills between low and high along x."""
  xs = sorted(band)
  if xs:
    low, high = zip(*(band[x] for x in xs), strict=True)
    axes.fill_between(xs, low, high, color=color, alpha=0.13, linewidth=0)


def _fits(axes, fits, bands, names: Sequence[str]) -> None:
  """Dashed lines in the colors of the lines that they belong to."""
  for i, (label, values) in enumerate(fits.items()):
    place = names.index(label) if label in names else len(names) + i
    xs, color = sorted(values), drawing.COLORS[place % len(drawing.COLORS)]
    _band(axes, bands.get(label, {}), color)
    axes.plot(
      xs,
      [values[x] for x in xs],
      color=color,
      label=None if label in names else label,
      linestyle="--",
      linewidth=1.3,
    )


def _legend(figure, axes) -> None:
  """Above the axes, where it hides nothing; none for a single entry."""
  handles, labels = axes.get_legend_handles_labels()
  if len(labels) < 2:
    return
  room = 62 * figure.get_figwidth() / 4.8  # Characters in a line.
  columns = max(1, min(len(labels), int(room / (max(map(len, labels)) + 6))))
  figure.legend(
    handles,
    labels,
    loc="outside upper left",
    ncols=columns,
    fontsize=8.5,
    columnspacing=1.2,
    handlelength=1.6,
  )


def _scales(axes, x_log, y_log) -> None:
  """Log axes whose ticks are plain numbers."""
  from matplotlib import ticker

  for is_log, scale, axis in (
    (x_log, axes.set_xscale, axes.xaxis),
    (y_log, axes.set_yscale, axes.yaxis),
  ):
    if not is_log:
      continue
    scale("log")
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.9g}"))
    axis.set_minor_formatter(ticker.NullFormatter())
    low, high = axis.get_view_interval()
    if high / low > 300:  # Room for one tick per decade.
      axis.set_major_locator(ticker.LogLocator())
    elif high / low < 8:
      axis.set_major_locator(ticker.LogLocator(subs=range(1, 10)))
