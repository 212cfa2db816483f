"""Pictures side by side in one figure, and masks in colors.

svg = picture_grid(
  [[image, colored(mask)], ...], columns=("frame", "truth"), name="masks"
)
svg = neighbor_grid(picture, {"pixels": Found(...), ...}, name="cat")
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from PIL import Image

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


_THUMBNAIL = 128
"""The longest side of a picture on a page, in pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """What one encoder finds for one query.

  Attributes:
    images: of the rows, best first.
    labels: the names of their classes; "" where unknown.
    similarities: cosines.
    agrees: whether each has the query's class; None where that is unknown.
    overlay: the query with what its similarity comes from; or None.
  """

  images: Sequence[UInt8[np.ndarray, "H W 3"]]
  labels: Sequence[str]
  similarities: Sequence[float]
  agrees: Sequence[bool | None]
  overlay: UInt8[np.ndarray, "H W 3"] | None = None


def overlaid(
  picture: UInt8[np.ndarray, "H W 3"], values: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "H W 3"]:
  """The picture in gray, orange where values speak for and blue against.

  Values are enlarged to the picture (bilinear), which is made small if it is
  large, and shown to the scale of the largest, by absolute value.
  """
  picture = _small(picture)
  height, width = picture.shape[:2]
  values = Image.fromarray(np.asarray(values, np.float32), mode="F")
  values = np.asarray(values.resize((width, height), Image.Resampling.BILINEAR))
  largest = np.abs(values).max()
  amount = 0.75 * values / (largest if largest > 0 else 1)
  gray = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
  color = np.where(amount[..., None] > 0, (255.0, 120, 0), (0.0, 90, 255))
  mixed = gray + np.abs(amount)[..., None] * (color - gray)
  return np.round(mixed).astype(np.uint8)


@drawing.drawn
def neighbor_grid(
  picture: UInt8[np.ndarray, "H W 3"],
  found: Mapping[str, Found],
  *,
  name: str,
  side: float = 0.64,
) -> str:
  """One row for each encoder: query, overlay, rows; SVG text.

  Args:
    picture: the query.
    found: by encoder.
    name: of the figure, unique on its page.
    side: width of a picture in inches.
  """
  maps = any(one.overlay is not None for one in found.values())
  first = 1 + maps
  columns = first + max(len(one.images) for one in found.values())
  with drawing.style(name):
    figure = drawing.new_figure(
      side * columns + 0.3, (side + 0.36) * len(found)
    )
    axes = figure.subplots(len(found), columns, squeeze=False)
    for place in axes.flat:
      place.set_axis_off()
    for row, (encoder, one) in zip(axes, found.items(), strict=True):
      _show(row[0], picture, "query")
      row[0].text(
        -0.12, 0.5, encoder, transform=row[0].transAxes, rotation=90,
        ha="right", va="center", fontsize=9,
      )  # fmt: skip
      if one.overlay is not None:
        _show(row[1], one.overlay, "why")
      for place, image, label, similarity, agrees in zip(
        row[first:], one.images, one.labels, one.similarities, one.agrees,
        strict=False,
      ):  # fmt: skip
        title = f"{label}\n{similarity:.2f}" if label else f"{similarity:.2f}"
        _show(place, image, title, agrees)
    return drawing.svg(figure)


def _show(place, image, title, agrees=None):
  """A picture with its caption, green or red where that is known."""
  colors = {None: drawing.INK, True: drawing.RIGHT, False: drawing.WRONG}
  place.imshow(_small(image), interpolation="nearest")
  place.set_title(title, fontsize=7.5, color=colors[agrees], pad=2)


def _small(image: np.ndarray) -> np.ndarray:
  """The picture, no larger than a thumbnail."""
  if max(image.shape[:2]) <= _THUMBNAIL:
    return image
  image = Image.fromarray(image)
  image.thumbnail((_THUMBNAIL, _THUMBNAIL))
  return np.asarray(image)
