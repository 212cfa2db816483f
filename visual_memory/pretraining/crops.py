"""Random resized crops as small matrices, on whatever device the images are.

A bicubic resize is a matrix along each axis, and a crop chooses which samples
that matrix sees. So a batch of crops, each of its own place and size, is two
batched matrix products, which every accelerator does well.

Reference: Pillow's resize (Keys' kernel with a = -0.5, widened when shrinking,
renormalized at the edges of the crop), here without its rounding to 8 bits;
torchvision's RandomResizedCrop.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from visual_memory.types import Array

_ATTEMPTS = 10
_ASPECTS = (3 / 4, 4 / 3)


def random_boxes(
  key: PRNGKeyArray,
  *,
  side: int,
  scale: tuple[float, float],
) -> Int[jax.Array, "4"]:
  """A random box (top, left, height, width) in a square image.

  Its share of the area is uniform in `scale`, the logarithm of its aspect
  uniform between those of 3/4 and 4/3, its place uniform; sides are whole
  pixels. After ten boxes that do not fit, the whole image.

  Args:
    key: makes the box.
    side: of the image, in pixels.
    scale: least and greatest share of the area.
  """
  area_key, aspect_key, place_key = jax.random.split(key, 3)
  share = jax.random.uniform(
    area_key, (_ATTEMPTS,), minval=scale[0], maxval=scale[1]
  )
  low, high = jnp.log(jnp.asarray(_ASPECTS))
  aspect = jnp.exp(
    jax.random.uniform(aspect_key, (_ATTEMPTS,), minval=low, maxval=high)
  )
  area = share * side * side
  widths = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
  heights = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
  fits = (widths > 0) & (widths <= side) & (heights > 0) & (heights <= side)
  first = jnp.argmax(fits)
  height = jnp.where(fits.any(), heights[first], side)
  width = jnp.where(fits.any(), widths[first], side)
  u = jax.random.uniform(place_key, (2,))
  room = jnp.stack([side - height, side - width])
  corner = jnp.floor(u * (room + 1)).astype(jnp.int32)
  return jnp.stack([corner[0], corner[1], height, width])


def resized_crop(
  image: Float[Array, "H W C"], box: Int[Array, "4"], *, size: int
) -> Float[jax.Array, "S S C"]:
  """The box (top, left, height, width) of an image at size x size pixels.

  Values may overshoot the image's range, as a bicubic kernel does; the caller
  clips.
  """
  rows = crop_matrix(box[0], box[2], side=image.shape[0], size=size)
  columns = crop_matrix(box[1], box[3], side=image.shape[1], size=size)
  down = jnp.einsum(
    "sh,hwc->swc", rows, image, precision=jax.lax.Precision.HIGHEST
  )
  return jnp.einsum(
    "tw,swc->stc", columns, down, precision=jax.lax.Precision.HIGHEST
  )


def crop_matrix(
  start: Int[Array, ""], length: Int[Array, ""], *, side: int, size: int
) -> Float[jax.Array, "size side"]:
  """What each of `side` samples adds to each of `size`, from an interval.

  Args:
    start: first sample of the interval.
    length: samples in it.
    side: samples in the line.
    size: samples wanted.
  """
  step = length.astype(jnp.float32) / size
  centers = start + (jnp.arange(size, dtype=jnp.float32) + 0.5) * step - 0.5
  samples = jnp.arange(side, dtype=jnp.float32)
  distances = (samples[None, :] - centers[:, None]) / jnp.maximum(step, 1.0)
  inside = (samples >= start) & (samples < start + length)
  kernel = jnp.where(inside[None, :], _keys(distances), 0.0)
  return kernel / jnp.sum(kernel, axis=1, keepdims=True)


def _keys(distances: jax.Array) -> jax.Array:
  """Cubic convolution with a = -0.5 (Keys 1981, equation 15)."""
  x = jnp.abs(distances)
  near = (1.5 * x - 2.5) * x * x + 1
  far = ((-0.5 * x + 2.5) * x - 4) * x + 2
  return jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))
