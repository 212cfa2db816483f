"""The one style of all figures: SVG text that takes on its page's color.

  @drawing.drawn
  def accuracy_figure(...):
    with drawing.style("accuracy"):
      figure = drawing.new_figure(4.8, 3.4)
      axes = figure.add_subplot()
      ...
      return drawing.svg(figure)

Axes and text are drawn in `currentColor` and the background is left clear, so
one figure suits a light and a dark page. The same input gives the same bytes.
Needs matplotlib, which the `plots` extra brings.
"""

import functools
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from matplotlib.figure import Figure

COLORS = ("#3b7dd8", "#e08a1e", "#1a9c6b", "#c04fa0", "#7d8590")
"""Told apart by the color-blind, on white and on black."""
MARKERS = ("o", "s", "D", "^", "v")
RIGHT = "#1a9c6b"
"""Green that reads on white and on black, and stays apart from WRONG."""
WRONG = "#e0533d"
INK = "#123456"
"""Drawn nowhere else: becomes currentColor."""
LAYOUT = "constrained"
"""Room is made for all that is written."""
_STYLE = {
  "axes.edgecolor": INK,
  "axes.labelcolor": INK,
  "axes.linewidth": 0.8,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "font.size": 10,
  "grid.color": INK,
  "grid.alpha": 0.15,
  "legend.frameon": False,
  "svg.fonttype": "none",
  "text.color": INK,
  "text.parse_math": False,
  "xtick.color": INK,
  "ytick.color": INK,
}


def require_plots() -> None:
  """Raises ImportError, naming the extra, where pages cannot be drawn."""
  try:
    import jinja2  # noqa: F401
    import matplotlib  # noqa: F401
  except ImportError as error:
    raise ImportError(
      f"report.html needs {error.name}: pip install 'visual_memory[plots]'."
    ) from error


def drawn(draw: Callable[..., str]) -> Callable[..., str]:
  """A function that draws a figure, or gives "" where matplotlib is absent.

  So a run without the `plots` extra still comes to its numbers.
  """

  @functools.wraps(draw)
  def maybe_drawn(*args, **kwargs) -> str:
    try:
      import matplotlib  # noqa: F401
    except ImportError:
      return ""
    return draw(*args, **kwargs)

  return maybe_drawn


def style(name: str):
  """The context in which a figure is drawn; its name makes its ids unique."""
  import matplotlib

  return matplotlib.rc_context({**_STYLE, "svg.hashsalt": name})


def new_figure(width: float, height: float) -> "Figure":
  """An empty figure, in inches, outside pyplot's global state."""
  from matplotlib.figure import Figure

  return Figure(figsize=(width, height), layout=LAYOUT)


def svg(figure: "Figure") -> str:
  """The figure as a standalone SVG document without dates."""
  buffer = io.StringIO()
  figure.savefig(
    buffer,
    format="svg",
    transparent=True,
    metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
  )
  text = buffer.getvalue().replace(INK, "currentColor")
  return re.sub(r"<!DOCTYPE.*?>\n?", "", text, flags=re.DOTALL)
