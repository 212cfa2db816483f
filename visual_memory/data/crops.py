"""The random resized crop: a box of an image, and two small matrices.

  box = random_box(key, height, width, scale=(0.5, 1.0), ratio=(3 / 4, 4 / 3))
  view = resized_crop(image, box, size=224, kernel="triangle", rounded=True)

A resize is a matrix along each axis, and a crop chooses which samples that
matrix sees. So a batch of crops, each of its own place and size, is two batched
matrix products, which every accelerator does well; and an image that lies in
the corner of a larger canvas is cropped by the program of the canvas.

Reference: torchvision's RandomResizedCrop; Pillow's resize (a kernel widened
when shrinking, renormalized at the edges of the crop).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray, Shaped

from visual_memory.data import resampling
from visual_memory.types import Array

KERNELS: dict[str, Callable[[jax.Array], jax.Array]] = {
  "cubic": resampling.keys_kernel,
  "triangle": resampling.triangle_kernel,
}
"""What Pillow calls bicubic and bilinear."""

_ATTEMPTS = 10


def random_box(
  key: PRNGKeyArray,
  height: int | Int[Array, ""],
  width: int | Int[Array, ""],
  *,
  scale: tuple[float, float],
  ratio: tuple[float | Array, float | Array],
) -> Int[jax.Array, "4"]:
  """A random box (top, left, height, width) within an image.

  Its share of the area is uniform in `scale`, the logarithm of its ratio
  uniform, its place uniform; sides are whole pixels. After ten boxes that do
  not fit: the largest centered one whose ratio is allowed.

  Args:
    key: makes the box.
    height, width: of the image, in pixels; they may be traced.
    scale: least and greatest share of the area.
    ratio: least and greatest width over height; they may be traced.
  """
  area_key, ratio_key, place_key = jax.random.split(key, 3)
  share = jax.random.uniform(
    area_key, (_ATTEMPTS,), minval=scale[0], maxval=scale[1]
  )
  low, high = jnp.log(jnp.asarray(ratio))
  shape = jnp.exp(
    jax.random.uniform(ratio_key, (_ATTEMPTS,), minval=low, maxval=high)
  )
  area = share * height * width
  wide = jnp.round(jnp.sqrt(area * shape)).astype(jnp.int32)
  tall = jnp.round(jnp.sqrt(area / shape)).astype(jnp.int32)
  fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
  first = jnp.argmax(fits)
  sides = jnp.stack([tall[first], wide[first]])
  room = jnp.stack([jnp.asarray(height), jnp.asarray(width)]) - sides
  u = jax.random.uniform(place_key, (2,))
  corner = jnp.floor(u * (room + 1)).astype(jnp.int32)
  box = jnp.concatenate([corner, sides])
  return jnp.where(fits.any(), box, _center_box(height, width, ratio))


def _center_box(height, width, ratio: tuple) -> jax.Array:
  """The largest centered box whose ratio is allowed."""
  low, high = ratio
  shape = width / height
  wide = jnp.where(shape > high, jnp.round(height * high), width)
  tall = jnp.where(shape < low, jnp.round(width / low), height)
  wide, tall = wide.astype(jnp.int32), tall.astype(jnp.int32)
  return jnp.stack([(height - tall) // 2, (width - wide) // 2, tall, wide])


def resized_crop(
  image: Shaped[Array, "H W C"],
  box: Int[Array, "4"],
  *,
  size: int,
  kernel: str,
  rounded: bool,
) -> Float[jax.Array, "S S C"]:
  """The box (top, left, height, width) of an image at size x size pixels.

  Args:
    image: whole numbers in [0, 255] where `rounded`, else of any range.
    box: within it.
    size: S.
    kernel: a key of KERNELS.
    rounded: as Pillow does: after each of the two passes to whole numbers in
      [0, 255]. Otherwise a cubic kernel may overshoot the image's range.
  """
  if kernel not in KERNELS:
    raise ValueError(f"Unknown kernel {kernel!r}; known: {', '.join(KERNELS)}.")
  across = crop_matrix(
    box[1], box[3], side=image.shape[1], size=size, kernel=kernel
  )
  down = crop_matrix(
    box[0], box[2], side=image.shape[0], size=size, kernel=kernel
  )
  # Pillow rounds halves up.
  whole = lambda x: jnp.clip(jnp.floor(x + 0.5), 0, 255) if rounded else x
  pixels = image.astype(jnp.float32)
  pixels = whole(jnp.einsum("tw,hwc->htc", across, pixels, precision="highest"))
  return whole(jnp.einsum("sh,htc->stc", down, pixels, precision="highest"))


def crop_matrix(
  start: Int[Array, ""],
  length: Int[Array, ""],
  *,
  side: int,
  size: int,
  kernel: str,
) -> Float[jax.Array, "size side"]:
  """What each of `side` samples adds to each of `size`, from an interval.

  Args:
    start: first sample of the interval.
    length: samples in it; others add nothing, and each row's weights sum to 1.
    side: samples in the line.
    size: samples wanted.
    kernel: a key of KERNELS.
  """
  step = length / size
  centers = (jnp.arange(size) + 0.5) * step  # Within the interval.
  samples = jnp.arange(side) - start
  distances = samples[None, :] + 0.5 - centers[:, None]
  inside = (samples >= 0) & (samples < length)
  weights = KERNELS[kernel](distances / jnp.maximum(step, 1.0))
  weights = jnp.where(inside[None, :], weights, 0.0)
  return weights / jnp.sum(weights, axis=1, keepdims=True)
