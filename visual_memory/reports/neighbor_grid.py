"""A query and its nearest rows by several encoders, one below the other.

svg = neighbor_grid(picture, {"pixels": Found(...), ...}, name="cat")
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from visual_memory.reports import drawing

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
