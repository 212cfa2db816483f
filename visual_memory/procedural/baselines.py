"""Simpler procedural pictures, to compare shaders with.

images = dead_leaves(keys, size=64)      # float32 [B, S, S, 3] in [0, 1]

Dead leaves: plain shapes of power-law sizes that cover each other. Fractal
noise: colored noise with a random power spectrum. Iterated function systems:
the attractor of a few random contractions.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from visual_memory.procedural import noise, render, shapes
from visual_memory.types import Array

NUM_LEAVES = 160
LEAST_RADIUS = 0.1
NUM_MAPS = 4
NUM_CHAINS, NUM_JUMPS = 256, 160


def dead_leaves(keys: jax.Array, *, size: int) -> Float[Array, "B S S 3"]:
  """Discs, boxes and triangles over each other, one picture for each key.

  Reference: Lee, Mumford and Huang, "Occlusion models for natural images"
  (2001): radii have density r^-3, here in [0.1, 1] of half the height.
  """
  numbers = jax.vmap(lambda k: jax.random.uniform(k, (NUM_LEAVES + 1, 8)))(keys)
  return render.over_programs(lambda u: _leaves(u, size), numbers)


def _grid(size: int) -> tuple[Array, Array]:
  line = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2.0 / size) - 1.0
  return (
    jnp.broadcast_to(line[None, :], (size, size)),
    jnp.broadcast_to(line[:, None], (size, size)),
  )


def _leaves(numbers: Float[Array, "n 8"], size: int) -> Array:
  """One picture from uniform numbers, back to front."""
  x, y = _grid(size)

  def put(picture, u):
    # The inverse of the distribution of radii between the least and 1.
    radius = jax.lax.rsqrt(1.0 + u[0] * (LEAST_RADIUS**-2 - 1.0))
    dx, dy = x - (2.4 * u[1] - 1.2), y - (2.4 * u[2] - 1.2)
    cos, sin = noise.cosine(u[3]), noise.sine(u[3])
    tx, ty = cos * dx - sin * dy, sin * dx + cos * dy
    distance = jax.lax.switch(
      jnp.minimum((u[4] * 3).astype(jnp.int32), 2),
      [
        lambda a, b: shapes.circle(a, b, radius),
        lambda a, b: shapes.box(a, b, radius, 0.7 * radius, 0.0),
        lambda a, b: shapes.polygon(a, b, 3.0, 0.6 * radius),
      ],
      tx,
      ty,
    )
    mask = jnp.clip(0.5 - distance * (0.5 * size), 0.0, 1.0)
    return tuple(p + mask * (u[5 + k] - p) for k, p in enumerate(picture)), None

  back = tuple(jnp.full((size, size), numbers[0, 5 + k]) for k in range(3))
  return jnp.stack(jax.lax.scan(put, back, numbers[1:])[0], axis=-1)


def fractal_noise(keys: jax.Array, *, size: int) -> Float[Array, "B S S 3"]:
  """Noise with power spectrum f^-a, a in [1, 4], colors correlated."""
  frequency = jnp.sqrt(
    jnp.fft.fftfreq(size)[:, None] ** 2 + jnp.fft.rfftfreq(size)[None] ** 2
  )
  frequency = jnp.maximum(frequency, 1.0 / size)

  def one(key):
    power, mix, white = jax.random.split(key, 3)
    slope = jax.random.uniform(power, minval=0.5, maxval=2.0)
    spectrum = jnp.fft.rfft2(
      jax.random.normal(white, (3, size, size)), axes=(1, 2)
    )
    planes = jnp.fft.irfft2(
      spectrum * frequency[None] ** -slope, s=(size, size)
    )
    planes = planes - planes.mean((1, 2), keepdims=True)
    planes = planes / (planes.std((1, 2), keepdims=True) + 1e-6)
    colors = jax.random.normal(mix, (3, 3)) * 0.15
    mixed = jnp.einsum("khw,kc->hwc", planes, colors, precision="highest")
    return jnp.clip(0.5 + mixed, 0.0, 1.0)

  return jax.lax.map(one, keys)


def iterated_functions(keys: jax.Array, *, size: int) -> Array:
  """Attractors of NUM_MAPS random contractions, colored by their last map.

  Reference: Kataoka et al., "Pre-training without Natural Images" (ACCV 2020),
  with contractions drawn directly, and colors.
  """
  return jax.lax.map(lambda key: _attractor(key, size), keys)


def _attractor(key: jax.Array, size: int) -> Array:
  """A histogram of random orbits, [S, S, 3]."""
  shape_key, start_key, jump_key, color_key = jax.random.split(key, 4)
  u = jax.random.uniform(shape_key, (NUM_MAPS, 6))
  scale_x, scale_y = 0.3 + 0.5 * u[:, 0], 0.3 + 0.5 * u[:, 1]
  first, second = u[:, 2], u[:, 2] + 0.3 * (u[:, 3] - 0.5)
  matrix = jnp.stack(
    [
      jnp.stack(
        [scale_x * noise.cosine(first), -scale_y * noise.sine(second)], -1
      ),
      jnp.stack(
        [scale_x * noise.sine(first), scale_y * noise.cosine(second)], -1
      ),
    ],
    1,
  )
  shift = 2.0 * u[:, 4:] - 1.0
  points = jax.random.uniform(start_key, (NUM_CHAINS, 2), minval=-1, maxval=1)
  jumps = jax.random.randint(jump_key, (NUM_JUMPS, NUM_CHAINS), 0, NUM_MAPS)

  def jump(points, which):
    turned = jnp.einsum(
      "nij,nj->ni", matrix[which], points, precision="highest"
    )
    moved = turned + shift[which]
    return moved, moved

  _, orbit = jax.lax.scan(jump, points, jumps)
  orbit = orbit[20:].reshape(-1, 2)  # The first jumps are not yet near it.
  middle = orbit.mean(0, keepdims=True)
  spread = orbit.std(0, keepdims=True) + 1e-3
  places = ((orbit - middle) / spread * 0.22 + 0.5) * size
  places = jnp.clip(places.astype(jnp.int32), 0, size - 1)
  colors = jax.random.uniform(color_key, (NUM_MAPS + 1, 3))
  ink = colors[jumps[20:].reshape(-1)]
  picture = jnp.zeros((size, size, 3)).at[places[:, 1], places[:, 0]].add(ink)
  count = jnp.zeros((size, size, 1)).at[places[:, 1], places[:, 0]].add(1.0)
  cover = 1.0 - jnp.exp(-count * (0.002 * np.float32(size) ** 2 / 16))
  return colors[-1:][None] * (1 - cover) + cover * picture / jnp.maximum(
    count, 1.0
  )
