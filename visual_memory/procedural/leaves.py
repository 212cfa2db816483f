"""Leaves from k-means: one picture's two main colors cut two others apart.

leaves = kmeans_leaves(shapes, first, second)      # [B, S, S, 3] each

The colors of a shape picture are split into two clusters; the smoothed
cluster map blends two texture pictures (KML).

Reference: Rodríguez-Muñoz et al., "Separating Knowledge and Perception with
Procedural Data" (ICML 2025). The three lossy JPEG files between its steps are
left out.
"""

import functools

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


over_pictures = render.over_programs
"""A function mapped over pictures, as many at once as suit the device."""


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

  return over_pictures(lambda images: leaf(*images), (shapes, first, second))


def leaf(shape: Image, first: Image, second: Image) -> Image:
  """One of kmeans_leaves."""
  return second + smooth_mask(shape)[:, :, None] * (first - second)


def smooth_mask(shape: Image) -> Mask:
  """How much of the first cluster each pixel is, in [0, 1].

  Cluster map at 256 x 256, 3 x 3 mean, resize, 3 x 3 mean.
  """
  colors = resized(jnp.moveaxis(shape, -1, 0))
  cluster = is_first_cluster(colors.reshape(3, -1)).reshape(colors.shape[1:])
  if len(cluster) > 1:
    return _box_blur(shrink(cluster))
  return _box_blur(sample(_box_blur(cluster[0, 0]), shape.shape[0]))


def is_first_cluster(colors: Float[Array, "3 P"]) -> Float[Array, "P"]:
  """1 where a color is nearer to the first of two means, else 0.

  The means start at the least and the greatest color (by red, then green, then
  blue) and are updated between NUM_ITERATIONS assignments; ties go to the
  first. A picture of one color is all first cluster.
  """
  count = colors.shape[1]
  # Products with vectors: plain sums are slower, or less exact.
  total = jnp.dot(colors, jnp.ones(count), precision="highest")
  low = _extreme(colors, jnp.minimum, jnp.inf)
  high = _extreme(colors, jnp.maximum, -jnp.inf)
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


def _extreme(colors: Float[Array, "3 P"], pick, worst) -> Float[Array, "3"]:
  """The lexicographically least (jnp.minimum) or greatest color."""
  red = _fold(colors[0], pick)
  among = colors[0] == red
  green = _fold(jnp.where(among, colors[1], worst), pick)
  among &= colors[1] == green
  blue = _fold(jnp.where(among, colors[2], worst), pick)
  return jnp.stack([red, green, blue])


def _fold(values: Float[Array, "P"], pick) -> Float[Array, ""]:
  """The least or greatest number, by halves: a plain minimum is no vector code.

  Args:
    values: of any length.
    pick: jnp.minimum or jnp.maximum.
  """
  while len(values) % 2 == 0:
    half = len(values) // 2
    values = pick(values[:half], values[half:])
  return functools.reduce(pick, [values[i] for i in range(len(values))])


def resized(planes: Float[Array, "3 S S"]) -> Float[Array, "3 f f T T"]:
  """Colors at CLUSTER_SIZE: bilinear, half-pixel centers.

  Antialiased where it shrinks. Where the factor f is whole, T is S and the
  colors are sorted by their offset from a pixel: clustering does not ask for
  an order, and what follows needs few of the points. Else f is 1.
  """
  size = planes.shape[-1]
  factor = CLUSTER_SIZE // size
  if CLUSTER_SIZE % size or factor > 8:
    shape = (3, CLUSTER_SIZE, CLUSTER_SIZE)
    planes = jax.image.resize(planes, shape, "bilinear", antialias=True)
    return planes[:, None, None]
  if factor == 1:
    return planes[:, None, None]
  padded = jnp.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
  rows = [_between(padded, phase, factor, 1) for phase in range(factor)]
  phases = [
    _between(row, phase, factor, 2) for row in rows for phase in range(factor)
  ]
  return jnp.stack(phases, 1).reshape(3, factor, factor, size, size)


def shrink(cluster: Float[Array, "f f S S"]) -> Mask:
  """3 x 3 mean of the arranged map, then OpenCV's bilinear resize to S.

  An even factor puts a pixel's middle between two points; each is the mean of
  three: weights 1, 2, 2, 1 of the four around it. Of two points per pixel, the
  outer two belong to the neighbors.
  """
  factor = cluster.shape[0]
  for axis in (0, 1):
    points = [cluster[i] for i in range(factor)]
    middle = points[factor // 2 - 1], points[factor // 2]
    if factor == 2:
      outer = _shifted(points, axis)
    else:
      outer = points[factor // 2 - 2], points[factor // 2 + 1]
    cluster = 2.0 * (middle[0] + middle[1]) + (outer[0] + outer[1])
  return cluster * (1.0 / 36.0)


def _shifted(points: list, axis: int) -> tuple[Array, Array]:
  """The neighbors' points; at the border the map mirrors, not repeating it."""
  axis = axis - 2
  first, last = points
  size = first.shape[axis]
  cut = functools.partial(jax.lax.slice_in_dim, axis=axis % first.ndim)
  before = [cut(last, 0, 1), cut(last, 0, size - 1)]
  after = [cut(first, 1, size), cut(first, size - 1, size)]
  return (
    jnp.concatenate(before, axis=axis),
    jnp.concatenate(after, axis=axis),
  )


def _between(padded: Array, phase: int, factor: int, axis: int) -> Array:
  """The points at one of `factor` offsets from each pixel along an axis."""
  offset = (phase + 0.5) / factor - 0.5
  length = padded.shape[axis] - 2
  cut = functools.partial(jax.lax.slice_in_dim, axis=axis)
  near = cut(padded, 1, length + 1)
  begin = 0 if offset < 0 else 2
  other = cut(padded, begin, begin + length)
  # Exact where both are alike: rounding must not choose the least color.
  return near + abs(offset) * (other - near)


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
