"""Test-time views of an image, made on the device: random crops, mirrored.

  views = random_views(canvas, size, key, num_views=31, side=224, augmix=True)

An image of any size is put into the corner of a square canvas of fixed size, so
that one compiled program serves all. A crop is resized by two matrices, one for
each side: antialiased as Pillow does it, but in floating point, rounded once.

Reference: torchvision's RandomResizedCrop (area 0.5 to 1, ratio 3/4 to 4/3,
bilinear) and RandomHorizontalFlip, as Zhang et al., "Dual Memory Networks"
(CVPR 2024) use them; ten attempts at a crop that fits, then the center.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from visual_memory.dual_memory.augmix import augmix as mix
from visual_memory.types import Array

SCALE = (0.5, 1.0)
"""Area of a crop, relative to the image's."""

RATIO = (3 / 4, 4 / 3)
"""Width over height of a crop."""

_ATTEMPTS = 10


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
    pixels = resized_crop(canvas, crop_box(crop_key, size), side=side)
    pixels = jnp.where(jax.random.bernoulli(flip_key), pixels[:, ::-1], pixels)
    return mix(pixels, mix_key) if augmix else pixels

  # One after the other: only one canvas-sized product is held at a time.
  return jax.lax.map(view, jax.random.split(key, num_views))


def crop_box(key: Array, size: Int[Array, "2"]) -> Int[Array, "4"]:
  """Top, left, height and width of a random crop within an image."""
  height, width = size[0], size[1]
  area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
  area = (height * width).astype(jnp.float32) * jax.random.uniform(
    area_key, (_ATTEMPTS,), minval=SCALE[0], maxval=SCALE[1]
  )
  ratio = jnp.exp(
    jax.random.uniform(
      ratio_key,
      (_ATTEMPTS,),
      minval=math.log(RATIO[0]),
      maxval=math.log(RATIO[1]),
    )
  )
  wide = jnp.round(jnp.sqrt(area * ratio)).astype(jnp.int32)
  high = jnp.round(jnp.sqrt(area / ratio)).astype(jnp.int32)
  fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)
  first = jnp.argmax(fits)
  high, wide = high[first], wide[first]
  top = jax.random.randint(top_key, (), 0, jnp.maximum(height - high, 0) + 1)
  left = jax.random.randint(left_key, (), 0, jnp.maximum(width - wide, 0) + 1)
  box = jnp.stack([top, left, high, wide])
  return jnp.where(fits.any(), box, _center_box(height, width))


def _center_box(height: Array, width: Array) -> Int[Array, "4"]:
  """The largest centered crop whose ratio is allowed."""
  ratio = width / height
  wide = jnp.where(
    ratio > RATIO[1], jnp.round(height * RATIO[1]).astype(jnp.int32), width
  )
  high = jnp.where(
    ratio < RATIO[0], jnp.round(width / RATIO[0]).astype(jnp.int32), height
  )
  return jnp.stack([(height - high) // 2, (width - wide) // 2, high, wide])


def resized_crop(
  canvas: UInt8[Array, "M M 3"], box: Int[Array, "4"], *, side: int
) -> Float[Array, "S S 3"]:
  """A box of an image, resized to a square; whole numbers in [0, 255]."""
  down = triangle_weights(canvas.shape[0], box[0], box[2], side=side)
  across = triangle_weights(canvas.shape[1], box[1], box[3], side=side)
  pixels = canvas.astype(jnp.float32)
  pixels = jnp.einsum("wx,yxc->ywc", across, pixels, precision="highest")
  # Pillow rounds between the two passes, too, and halves always up.
  pixels = jnp.clip(jnp.floor(pixels + 0.5), 0, 255)
  pixels = jnp.einsum("hy,ywc->hwc", down, pixels, precision="highest")
  return jnp.clip(jnp.floor(pixels + 0.5), 0, 255)


def triangle_weights(
  size_in: int, start: Array, length: Array, *, side: int
) -> Float[Array, "S M"]:
  """What each pixel of a line gives to each of `side` resized ones.

  Only pixels of the interval count; each row's weights sum to one.
  """
  scale = length / side
  reach = jnp.maximum(scale, 1.0)
  centers = (jnp.arange(side) + 0.5) * scale  # Within the interval.
  places = jnp.arange(size_in) - start
  distance = jnp.abs(places[None] + 0.5 - centers[:, None]) / reach
  inside = (places >= 0) & (places < length)
  weights = jnp.where(inside[None], jnp.maximum(0.0, 1 - distance), 0.0)
  return weights / jnp.sum(weights, axis=1, keepdims=True)
