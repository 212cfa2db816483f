"""Operators on coordinates: what happens to the plane before it is drawn on.

Each maps the state of every pixel to new coordinates and a cell value:
f(state, constants, seed) -> (x, y, cell). Angles and phases are in turns.
"""

from typing import NamedTuple

import jax.numpy as jnp

from visual_memory.procedural import noise
from visual_memory.procedural.operators import (
  PHASE,
  Operator,
  fixed,
  linear,
  log,
  table,
  whole,
)

Field = noise.Field


class State(NamedTuple):
  """The registers of one layer, for every pixel.

  Attributes:
    x: first coordinate.
    y: second coordinate.
    cell: a number in [0, 1) that is constant within a cell of a repetition.
    past: height of the layer below, about in [-2, 2].
  """

  x: Field
  y: Field
  cell: Field
  past: Field


def _keep(s, c, seed):
  del c, seed
  return s.x, s.y, s.cell


def rotate(x: Field, y: Field, turns) -> tuple[Field, Field]:
  """The point turned about the origin."""
  cos, sin = noise.cosine(turns), noise.sine(turns)
  return cos * x - sin * y, sin * x + cos * y


def _affine(s, c, seed):
  """Turn, stretch and shift."""
  del seed
  x, y = rotate(s.x, s.y, c[0])
  return x * c[1] + c[2], y / c[1] + c[3], s.cell


def _fold(s, c, seed):
  """Two mirrors at an angle."""
  del seed
  x, y = rotate(jnp.abs(s.x) - c[1], jnp.abs(s.y) - c[2], c[0])
  return x * c[3], y * c[3], s.cell


def _kaleidoscope(s, c, seed):
  """c[0] mirrored sectors around the middle."""
  del seed
  radius = jnp.sqrt(s.x * s.x + s.y * s.y)
  turns = noise.angle(s.x, s.y) + c[1]
  sector = jnp.abs(turns * c[0] - jnp.round(turns * c[0])) / c[0]
  return (
    radius * noise.cosine(sector) - c[2],
    radius * noise.sine(sector) - c[3],
    s.cell,
  )


def _tiles(s, c, seed):
  """Square cells, in bricks by c[1], each with a value of its own."""
  row = jnp.floor(s.y * c[0] + c[2])
  x = s.x * c[0] + c[1] * (row - 2.0 * jnp.floor(row * 0.5))
  fx, fy, bx, by = noise.lattice(x, s.y * c[0] + c[2], seed)
  cell = noise.unit(noise.scramble(bx + by))
  x, y = rotate(fx - 0.5, fy - 0.5, c[3] * jnp.floor(cell * 4.0))
  return 2.0 * x, 2.0 * y, cell


def _hexagons(s, c, seed):
  """Hexagonal cells: the nearer of two interleaved rectangular lattices."""
  x, y = s.x * c[0], s.y * c[0] * 0.57735027
  first = noise.lattice(x, y, seed)
  other = noise.lattice(x + 0.5, y + 0.5, seed ^ jnp.uint32(0x5BD1E995))
  ax, ay = first[0] - 0.5, (first[1] - 0.5) * 1.7320508
  bx, by = other[0] - 0.5, (other[1] - 0.5) * 1.7320508
  near = ax * ax + ay * ay < bx * bx + by * by
  bits = jnp.where(near, first[2] + first[3], other[2] + other[3])
  cell = noise.unit(noise.scramble(bits))
  return jnp.where(near, ax, bx) * 2.0, jnp.where(near, ay, by) * 2.0, cell


def _mirror_tiles(s, c, seed):
  """A mirrored repetition without seams."""
  del seed
  return (
    noise.triangle(s.x * c[0] + c[1]),
    noise.triangle(s.y * c[0] + c[2]),
    s.cell,
  )


def _noise_warp(s, c, seed):
  """Displacement by smooth noise of c[4] octaves."""
  x, y = s.x * c[0] + c[2], s.y * c[0] + c[3]
  dx, dy = noise.octaves(
    noise.value_noise,
    jnp.stack([x, x + 5.2]),
    jnp.stack([y, y + 1.3]),
    seed,
    num=c[4].astype(jnp.int32),
    gain=0.5,
    shape=lambda value: value,
  )
  return s.x + c[1] * dx, s.y + c[1] * dy, s.cell


def _sine_warp(s, c, seed):
  """Two crossing waves, one bent by the other."""
  del seed
  x = s.x + c[1] * noise.sine(c[0] * s.y + c[2])
  return x, s.y + c[1] * noise.sine(c[0] * x + c[3]), s.cell


def _log_polar(s, c, seed):
  """Spirals and tunnels: angle and log radius."""
  del seed
  square = s.x * s.x + s.y * s.y
  depth = 0.5 * jnp.log(square + 1e-4) + c[1]
  around = noise.angle(s.x, s.y) * c[0]
  return around + c[2] * depth, depth * c[3], s.cell


def _invert(s, c, seed):
  """Inversion in a circle about (c[1], c[2])."""
  del seed
  x, y = s.x - c[1], s.y - c[2]
  scale = c[0] / (x * x + y * y + 0.05)
  return x * scale, y * scale, s.cell


def _swirl(s, c, seed):
  """A vortex: turned by c[0], less further out."""
  del seed
  x, y = s.x - c[2], s.y - c[3]
  x, y = rotate(x, y, c[0] / (1.0 + c[1] * (x * x + y * y)))
  return x, y, s.cell


def _kali(s, c, seed):
  """p <- |p| / p.p - c, four times: the fold behind many fractal shaders."""
  del seed
  x, y = s.x * c[2], s.y * c[2]
  for _ in range(4):
    scale = 1.0 / (x * x + y * y + 0.02)
    x, y = jnp.abs(x) * scale - c[0], jnp.abs(y) * scale - c[1]
  return jnp.clip(x, -4, 4), jnp.clip(y, -4, 4), s.cell


def _plane(s, c, seed):
  """A floor, and the ceiling, in perspective."""
  del seed
  x, y = rotate(s.x, s.y, c[1])
  y = y - c[2]
  depth = 1.0 / (jnp.abs(y) + 0.12)
  return x * depth * c[0], depth * c[0] + c[3], jnp.where(y > 0, 0.3, s.cell)


def _ball(s, c, seed):
  """The plane on a ball of radius c[0] in front of the plane."""
  del seed
  x, y = s.x - c[2], s.y - c[3]
  square = (x * x + y * y) / (c[0] * c[0])
  inside = square < 1.0
  bulge = 1.0 / (0.25 + jnp.sqrt(jnp.maximum(1.0 - square, 0.0)))
  scale = jnp.where(inside, c[1] * bulge, 1.0)
  return x * scale, y * scale, jnp.where(inside, 0.77, s.cell)


def _past_warp(s, c, seed):
  """Displacement along c[0] by the height of the layer below."""
  del seed
  amount = c[1] * s.past
  return (
    s.x + amount * noise.cosine(c[0]),
    s.y + amount * noise.sine(c[0]),
    s.cell,
  )


def _mosaic(s, c, seed):
  """Constant coordinates within square cells, and some of them finer."""
  _, _, bx, by = noise.lattice(s.x * c[0], s.y * c[0], seed)
  cell = noise.unit(noise.scramble(bx + by))
  size = jnp.where(cell < c[1], 4.0, 1.0) * c[0]
  x, y = (jnp.floor(s.x * size) + 0.5) / size, jnp.floor(s.y * size) + 0.5
  return x, y / size, cell


def _julia(s, c, seed):
  """z <- z^2 + c, three times."""
  del seed
  x, y = s.x * c[2], s.y * c[2]
  for _ in range(3):
    x, y = x * x - y * y + c[0], 2.0 * x * y + c[1]
  # Far points are drawn in, so that nothing overflows or is too fine.
  scale = 1.0 / (1.0 + 0.15 * (x * x + y * y))
  return x * scale, y * scale, s.cell


def _ripple(s, c, seed):
  """Rings that move points along the radius."""
  del seed
  x, y = s.x - c[2], s.y - c[3]
  radius = jnp.sqrt(x * x + y * y + 1e-6)
  scale = 1.0 + c[1] * noise.sine(radius * c[0]) / (radius + 0.2)
  return x * scale, y * scale, s.cell


_SPOT = linear(-0.6, 0.6, 0.03)

DOMAIN = table(
  [
    Operator("keep", _keep, 9.0),
    Operator("affine", _affine, 2.0, (PHASE, log(0.5, 2.0), _SPOT, _SPOT)),
    Operator(
      "fold",
      _fold,
      1.2,
      (PHASE, linear(0.1, 0.8), linear(0.1, 0.8), log(0.9, 1.8)),
    ),
    Operator(
      "kaleidoscope",
      _kaleidoscope,
      0.9,
      (whole(2, 9), PHASE, linear(0, 0.7), linear(-0.3, 0.5)),
    ),
    Operator(
      "tiles",
      _tiles,
      1.2,
      (log(0.8, 4.0), linear(0, 0.5), linear(0, 1), linear(0, 0.25)),
    ),
    Operator("hexagons", _hexagons, 0.8, (log(0.8, 4.0),)),
    Operator("mirror_tiles", _mirror_tiles, 0.8, (log(0.3, 1.2), PHASE, PHASE)),
    Operator(
      "noise_warp",
      _noise_warp,
      2.5,
      (log(0.4, 2.2), log(0.05, 0.3), PHASE, PHASE, fixed(1)),
    ),
    Operator(
      "fractal_warp",
      _noise_warp,
      1.2,
      (log(0.5, 2.2), log(0.1, 0.5), PHASE, PHASE, fixed(3)),
    ),
    Operator(
      "sine_warp",
      _sine_warp,
      1.8,
      (log(0.3, 1.5), log(0.08, 0.45), PHASE, PHASE),
    ),
    Operator(
      "log_polar",
      _log_polar,
      1.0,
      (whole(1, 6), PHASE, linear(-1.5, 1.5), log(0.6, 2.0)),
    ),
    Operator("invert", _invert, 0.8, (log(0.3, 1.0), _SPOT, _SPOT)),
    Operator(
      "swirl", _swirl, 1.2, (linear(-1.2, 1.2, 0.02), log(1, 8), _SPOT, _SPOT)
    ),
    Operator(
      "kali",
      _kali,
      0.5,
      (linear(0.4, 1.1, 0.01), linear(0.3, 1.0, 0.01), log(0.5, 1.5)),
    ),
    Operator(
      "plane", _plane, 0.9, (log(0.3, 1.0), PHASE, linear(-0.4, 0.4), PHASE)
    ),
    Operator(
      "ball",
      _ball,
      0.9,
      (linear(0.4, 1.0), log(0.6, 2.5), _SPOT, _SPOT),
    ),
    Operator("past_warp", _past_warp, 1.2, (PHASE, log(0.05, 0.3))),
    Operator("mosaic", _mosaic, 0.4, (log(2.0, 10.0), linear(0, 0.7))),
    Operator(
      "julia",
      _julia,
      0.6,
      (linear(-0.9, 0.4, 0.02), linear(-0.7, 0.7, 0.02), log(0.7, 1.3)),
    ),
    Operator(
      "ripple",
      _ripple,
      0.8,
      (log(1.0, 4.0), log(0.03, 0.15), _SPOT, _SPOT),
    ),
  ]
)
