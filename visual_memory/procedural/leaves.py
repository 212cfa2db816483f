"""Leaves from k-means: one picture's two main colors cut two others apart.

leaves = kmeans_leaves(shapes, first, second)      # [B, S, S, 3] each

The colors of a shape picture are split into two clusters; the smoothed
cluster map blends two texture pictures (KML).

Reference: Rodríguez-Muñoz et al., "Separating Knowledge and Perception with
Procedural Data" (ICML 2025). The three lossy JPEG files between its steps are
left out.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from visual_memory.procedural import render
from visual_memory.types import Array

Image = Float[Array, "S S 3"]
Mask = Float[Array, "H W"]

CLUSTER_SIZE = 256
"""Colors are clustered, and the map is smoothed, at this resolution."""

NUM_ITERATIONS = 3


def kmeans_leaves(
  shapes: Float[Array, "B S S 3"],
  first: Float[Array, "B S S 3"],
  second: Float[Array, "B S S 3"],
) -> Float[Array, "B S S 3"]:
  """mask * first + (1 - mask) * second, masks from the colors of shapes.

  Args:
    shapes: in [0, 1].
    first: textures for the darker cluster, by red, then green, then blue.
    second: textures for the other one.
  """

  def leaf(images):
    mask = smooth_mask(images[0])[:, :, None]
    return images[2] + mask * (images[1] - images[2])

  return render.over_programs(leaf, (shapes, first, second))


def smooth_mask(shape: Image) -> Mask:
  """How much of the first cluster each pixel is, in [0, 1].

  Cluster map at 256 x 256, 3 x 3 mean, resize, 3 x 3 mean.
  """
  size = shape.shape[0]
  colors, arrange = enlarge(jnp.moveaxis(shape, -1, 0))
  cluster = arrange(is_first_cluster(colors))
  return _box_blur(sample(_box_blur(cluster), size))


def is_first_cluster(colors: Float[Array, "3 P"]) -> Float[Array, "P"]:
  """1 where a color is nearer to the first of two means, else 0.

  The means start at the least and the greatest color (by red, then green, then
  blue) and are updated between NUM_ITERATIONS assignments; ties go to the
  first. A picture of one color is all first cluster.
  """
  total, count = jnp.sum(colors, axis=1), colors.shape[1]
  low, high = _extreme(colors, jnp.min), _extreme(colors, jnp.max)
  # Else the rounding of its mean would decide about a single color.
  one_color = jnp.all(low == high)
  for iteration in range(NUM_ITERATIONS):
    # |c - low|^2 <= |c - high|^2, without the squares of c.
    toward = high - low
    limit = 0.5 * jnp.sum((high + low) * toward)
    along = toward[0] * colors[0] + toward[1] * colors[1]
    is_first = (along + toward[2] * colors[2] <= limit).astype(jnp.float32)
    if iteration + 1 < NUM_ITERATIONS:
      inside = jnp.dot(colors, is_first, precision="highest")
      number = jnp.sum(is_first)
      low_mean = inside / jnp.maximum(number, 1.0)
      high_mean = (total - inside) / jnp.maximum(count - number, 1.0)
      low = jnp.where(number > 0, low_mean, low)
      high = jnp.where(number < count, high_mean, high)
  return jnp.where(one_color, 1.0, is_first)


def _extreme(colors: Float[Array, "3 P"], pick) -> Float[Array, "3"]:
  """The lexicographically least (jnp.min) or greatest (jnp.max) color."""
  worst = jnp.inf if pick is jnp.min else -jnp.inf
  red = pick(colors[0])
  among = colors[0] == red
  green = pick(jnp.where(among, colors[1], worst))
  among &= colors[1] == green
  return jnp.stack([red, green, pick(jnp.where(among, colors[2], worst))])


def enlarge(planes: Float[Array, "3 S S"]) -> tuple[Array, Callable]:
  """Colors at CLUSTER_SIZE: bilinear, half-pixel centers.

  Antialiased where it shrinks. Clustering does not ask for an order, so
  where the factor is whole the colors stay sorted by their offset from a
  pixel, and only the cluster map is put in order.

  Returns:
    (colors [3, P], a function from a map [P] to [CLUSTER_SIZE,
    CLUSTER_SIZE]).
  """
  size = planes.shape[-1]
  factor = CLUSTER_SIZE // size
  if CLUSTER_SIZE % size or factor > 8:
    shape = (3, CLUSTER_SIZE, CLUSTER_SIZE)
    large = jax.image.resize(planes, shape, "bilinear", antialias=True)
    return large.reshape(3, -1), lambda m: m.reshape(shape[1:])
  if factor == 1:
    return planes.reshape(3, -1), lambda m: m.reshape(size, size)
  padded = jnp.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
  rows = [_between(padded, phase, factor, 1) for phase in range(factor)]
  rows = jax.lax.optimization_barrier(rows)
  phases = [
    _between(row, phase, factor, 2) for row in rows for phase in range(factor)
  ]
  # Without this, the sums are computed one by one within a concatenation.
  phases = jax.lax.optimization_barrier(phases)

  def arrange(m):
    m = m.reshape(factor, factor, size, size).transpose(2, 0, 3, 1)
    return m.reshape(CLUSTER_SIZE, CLUSTER_SIZE)

  return jnp.stack(phases, 1).reshape(3, -1), arrange


def _between(padded: Array, phase: int, factor: int, axis: int) -> Array:
  """The points at one of `factor` offsets from each pixel along an axis."""
  offset = (phase + 0.5) / factor - 0.5
  length = padded.shape[axis] - 2
  cut = functools.partial(jax.lax.slice_in_dim, axis=axis)
  near = cut(padded, 1, length + 1)
  begin = 0 if offset < 0 else 2
  other = cut(padded, begin, begin + length)
  return (1.0 - abs(offset)) * near + abs(offset) * other


def sample(mask: Mask, size: int) -> Float[Array, "S S"]:
  """Bilinear resize that looks at the nearest pixels only (OpenCV's)."""
  for axis in (0, 1):
    old = mask.shape[axis]
    place = (np.arange(size) + 0.5) * old / size - 0.5
    place = np.clip(place, 0, old - 1)
    left = np.minimum(np.floor(place).astype(np.int32), old - 1)
    right = np.minimum(left + 1, old - 1)
    part = (place - left).astype(np.float32)
    part = part[:, None] if axis == 0 else part[None, :]
    a, b = _pick(mask, left, axis), _pick(mask, right, axis)
    mask = a + part * (b - a)
  return mask


def _pick(mask: Mask, places: np.ndarray, axis: int) -> Array:
  """Rows or columns at these places: a strided slice where that will do."""
  steps = np.unique(np.diff(places))
  if len(steps) == 1 and steps[0] > 0:
    end = int(places[-1]) + 1
    return jax.lax.slice_in_dim(
      mask, int(places[0]), end, int(steps[0]), axis=axis
    )
  return jnp.take(mask, places, axis=axis)


def _box_blur(mask: Mask) -> Mask:
  """The mean of 3 x 3 pixels; the border mirrors without repeating itself."""
  padded = jnp.pad(mask, ((1, 1), (0, 0)), mode="reflect")
  mask = padded[:-2] + padded[1:-1] + padded[2:]
  padded = jnp.pad(mask, ((0, 0), (1, 1)), mode="reflect")
  return (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) * (1.0 / 9.0)
