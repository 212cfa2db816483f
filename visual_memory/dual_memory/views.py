"""Test-time views of an image, made on the device: random crops, mirrored.

  views = random_views(canvas, size, key, num_views=31, side=224, augmix=True)

An image of any size is put into the corner of a square canvas of fixed size, so
that one compiled program serves all.

Reference: torchvision's RandomResizedCrop (area 0.5 to 1, ratio 3/4 to 4/3,
bilinear) and RandomHorizontalFlip, as Zhang et al., "Dual Memory Networks"
(CVPR 2024) use them; ten attempts at a crop that fits, then the center.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from visual_memory.data import crops
from visual_memory.dual_memory.augmix import augmix as mix
from visual_memory.types import Array

SCALE = (0.5, 1.0)
"""Area of a crop, relative to the image's."""

RATIO = (3 / 4, 4 / 3)
"""Width over height of a crop."""


def on_canvas(
  image: UInt8[np.ndarray, "H W 3"], side: int
) -> tuple[UInt8[np.ndarray, "M M 3"], Int[np.ndarray, "2"]]:
  """The image in the corner of a canvas, and its height and width there.

  A larger image is first shrunk, antialiased, until its long side fits.

  Args:
    image: of any size.
    side: M, of the canvas.
  """
  height, width = image.shape[:2]
  if max(height, width) > side:
    factor = side / max(height, width)
    height, width = (max(1, round(n * factor)) for n in (height, width))
    resized = Image.fromarray(image).resize(
      (width, height), Image.Resampling.BICUBIC
    )
    image = np.asarray(resized)
  canvas = np.zeros((side, side, 3), np.uint8)
  canvas[:height, :width] = image
  return canvas, np.array([height, width], np.int32)


def random_views(
  canvas: UInt8[Array, "M M 3"],
  size: Int[Array, "2"],
  key: Array,
  *,
  num_views: int,
  side: int,
  augmix: bool,
) -> Float[Array, "V S S 3"]:
  """Random crops of one image, whole numbers in [0, 255] unless mixed.

  Args:
    canvas: the image in its corner.
    size: height and width of the image.
    key: of this image.
    num_views: V.
    side: S, of the views.
    augmix: whether each crop is mixed with altered copies of itself.
  """

  def view(key):
    crop_key, flip_key, mix_key = jax.random.split(key, 3)
    box = crops.random_box(crop_key, size[0], size[1], scale=SCALE, ratio=RATIO)
    pixels = crops.resized_crop(
      canvas, box, size=side, kernel="triangle", rounded=True
    )
    pixels = jnp.where(jax.random.bernoulli(flip_key), pixels[:, ::-1], pixels)
    return mix(pixels, mix_key) if augmix else pixels

  # One after the other: only one canvas-sized product is held at a time.
  return jax.lax.map(view, jax.random.split(key, num_views))
