"""Pictures side by side in one figure, and masks in colors.

svg = picture_grid(
  [[image, colored(mask)], ...], columns=("frame", "truth"), name="masks"
)
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from visual_memory.reports import drawing
from visual_memory.types import UNLABELED

_PALETTE = np.array(
  [
    (86, 180, 233), (130, 84, 60), (240, 228, 66), (90, 90, 100),
    (204, 121, 167), (0, 158, 115), (213, 94, 0), (170, 170, 110),
    (0, 90, 178), (255, 150, 150), (120, 50, 160), (200, 230, 160),
    (250, 190, 90), (60, 120, 120), (180, 60, 60), (150, 200, 250),
  ],
  np.uint8,
)  # fmt: skip
_VOID = (235, 235, 235)


def colored(
  mask: Int[np.ndarray, "H W"],
) -> UInt8[np.ndarray, "H W 3"]:
  """A color for each class (they repeat after 16); light gray is void."""
  colors = _PALETTE[mask % len(_PALETTE)]
  return np.where((mask == UNLABELED)[..., None], np.uint8(_VOID), colors)


@drawing.drawn
def picture_grid(
  rows: Sequence[Sequence[Shaped[np.ndarray, "..."] | None]],
  *,
  columns: Sequence[str],
  name: str,
  row_names: Sequence[str] = (),
  side: float = 1.6,
) -> str:
  """Pictures in rows and columns with a title over each column; SVG text.

  Args:
    rows: of uint8 or float pictures, [H, W, 3] or [H, W] in [0, 1]; None
      leaves a gap.
    columns: titles.
    name: of the figure, unique on its page.
    row_names: titles at the left.
    side: width of a picture in inches.
  """
  with drawing.style(name):
    height = side * rows[0][0].shape[0] / rows[0][0].shape[1]
    figure = drawing.new_figure(
      side * len(columns), (height + 0.05) * len(rows) + 0.3
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for r, row in enumerate(rows):
      for c, picture in enumerate(row):
        place = axes[r, c]
        place.set_axis_off()
        if r == 0:
          place.set_title(columns[c], fontsize=9)
        if c == 0 and row_names:
          place.text(
            -0.05, 0.5, row_names[r], transform=place.transAxes, rotation=90,
            ha="right", va="center", fontsize=9,
          )  # fmt: skip
        if picture is not None:
          gray = {"cmap": "gray", "vmin": 0, "vmax": 1}
          place.imshow(picture, **(gray if picture.ndim == 2 else {}))
    return drawing.svg(figure)


def contact_sheet(
  images: UInt8[np.ndarray, "B S S 3"], *, columns: int
) -> UInt8[np.ndarray, "H W 3"]:
  """Rows of `columns` pictures without gaps.

  Raises:
    ValueError: the last row would not be full.
  """
  count, size = images.shape[:2]
  if count % columns:
    raise ValueError(
      f"{count} pictures do not fill rows of {columns}: leave out"
      f" {count % columns}."
    )
  rows = images.reshape(count // columns, columns, size, size, 3)
  return rows.swapaxes(1, 2).reshape(-1, columns * size, 3)


@drawing.drawn
def legend(class_names: Sequence[str], *, name: str) -> str:
  """The colors of the classes; SVG text."""
  with drawing.style(name):
    rows = -(-len(class_names) // 6)
    figure = drawing.new_figure(7.5, 0.3 * rows)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(0, 6)
    axes.set_ylim(rows, 0)
    for n, class_name in enumerate(class_names):
      row, column = divmod(n, 6)
      color = _PALETTE[n % len(_PALETTE)] / 255
      axes.add_patch(_swatch((column + 0.0, row + 0.2), color))
      axes.text(column + 0.22, row + 0.5, class_name, va="center", fontsize=9)
    return drawing.svg(figure)


def _swatch(corner: tuple[float, float], color: np.ndarray):
  from matplotlib.patches import Rectangle

  return Rectangle(corner, 0.16, 0.6, color=color, linewidth=0)
