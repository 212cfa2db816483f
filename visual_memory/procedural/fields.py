"""Operators that draw: from coordinates to one height per pixel.

f(state, constants, seed) -> height, about in [-1, 1]; negative is inside for
shapes. Frequencies are periods per coordinate unit; phases are in turns.
"""

import jax
import jax.numpy as jnp

from visual_memory.procedural import noise, shapes
from visual_memory.procedural.operators import (
  PHASE,
  Operator,
  fixed,
  linear,
  log,
  table,
  whole,
)


def _ramp(s, c, seed):
  del seed
  return s.x * noise.cosine(c[0]) + s.y * noise.sine(c[0]) + c[1]


def _stripes(s, c, seed):
  """Waves across a direction; c[2] sharpens them towards bands."""
  del seed
  along = s.x * noise.cosine(c[0]) + s.y * noise.sine(c[0])
  wave = noise.sine(along * c[1] + c[3])
  return jnp.clip(wave * c[2], -1.0, 1.0)


def _plasma(s, c, seed):
  """Three crossing waves."""
  del seed
  a = noise.sine(s.x * c[0] + c[2])
  b = noise.sine(s.y * c[1] + c[3])
  return (a + b + noise.sine((s.x + s.y) * 0.7 * c[0] + 0.5 * a)) / 2.0


def _rings(s, c, seed):
  del seed
  radius = jnp.sqrt(s.x * s.x + s.y * s.y)
  return noise.sine(radius * c[0] + c[1] + c[2] * noise.angle(s.x, s.y))


def _checker(s, c, seed):
  """Squares with edges from soft to hard."""
  del seed
  waves = noise.sine(s.x * c[0] + c[2]) * noise.sine(s.y * c[0] + c[3])
  return jnp.clip(waves * c[1], -1.0, 1.0)


def _clouds(s, c, seed):
  """Value noise; clouds of four octaves; clouds bent by clouds."""
  x, y = s.x * c[0] + c[2], s.y * c[0] + c[3]
  kind = c[4].astype(jnp.int32)
  of_kind = lambda *numbers: jnp.asarray(numbers)[kind]
  some = dict(gain=0.3 + 0.22 * c[1], shape=lambda value: value)
  a = noise.octaves(noise.value_noise, x, y, seed, num=of_kind(0, 0, 2), **some)
  x, y = x + 3.0 * a, y - 2.0 * a
  b = noise.octaves(noise.value_noise, x, y, seed, num=of_kind(1, 4, 3), **some)
  return of_kind(1.0, 1.6, 1.6) * b + 0.3 * a * (2.0 * c[1] - 1.0)


def _gradients(s, c, seed):
  """Gradient noise; mountain ridges and veins; round lumps with creases."""
  kind = c[4].astype(jnp.int32)
  of_kind = lambda *numbers: jnp.asarray(numbers)[kind]
  plain, folded = of_kind(1.0, 0.0, 0.0), of_kind(0.0, -2.0, 2.0)
  level = of_kind(0.0, 1.0, -0.6)
  total = noise.octaves(
    noise.simplex_noise,
    s.x * c[0] + c[2],
    s.y * c[0] + c[3],
    seed,
    num=of_kind(1, 4, 3),
    gain=0.3 + 0.2 * c[1],
    shape=lambda value: level + plain * value + folded * jnp.abs(value),
  )
  return of_kind(1.0, 1.5, 1.5) * total - of_kind(0.0, 0.5, 0.0)


def _points(s, c, seed):
  """Around scattered points: dots; borders of cells; cells of one height."""
  kind = c[4].astype(jnp.int32)
  of_kind = lambda *numbers: jnp.asarray(numbers)[kind]
  first, second, value = noise.worley(
    s.x * c[0] + c[2],
    s.y * c[0] + c[3],
    seed,
    jitter=jnp.stack([jnp.float32(1.0), jnp.float32(0.9), c[1]])[kind],
  )
  gap = second - first
  dots = 2.0 * (first + c[1] * (gap - first)) - 0.8 * (1.0 - c[1])
  borders = jnp.minimum(gap * 3.0, 1.0) - 0.5 + c[1] * (value - 0.5)
  patches = (2.0 * value - 0.4) * noise.smooth(gap, 0.0, 0.08) - 0.6
  return (
    of_kind(1.0, 0.0, 0.0) * dots
    + of_kind(0.0, 1.0, 0.0) * borders
    + of_kind(0.0, 0.0, 1.0) * patches
  )


def _cell(s, c, seed):
  """The value of the current cell of a repetition."""
  del seed
  return 2.0 * noise.triangle(s.cell * c[0] + c[1]) - 0.5 + 0.3 * s.x


def _disc(s, c, seed):
  """A disc or a ring, of another size in each cell."""
  del seed
  distance = shapes.circle(s.x - c[2], s.y - c[3], c[0] * (0.5 + s.cell))
  return jnp.where(c[1] < 0.18, jnp.abs(distance) - c[1], distance)


def _box(s, c, seed):
  del seed
  return shapes.box(
    s.x, s.y, c[0] * (0.5 + s.cell), c[1], 0.5 * jnp.minimum(c[0], c[1]) * c[2]
  )


def _cross(s, c, seed):
  del seed
  return shapes.cross(s.x, s.y, c[0] * (0.6 + s.cell), c[1])


def _polygon(s, c, seed):
  del seed
  turned = noise.cosine(c[2]), noise.sine(c[2])
  x = turned[0] * s.x - turned[1] * s.y
  y = turned[1] * s.x + turned[0] * s.y
  distance = shapes.polygon(x, y, c[0], c[1] * (0.5 + s.cell))
  return jnp.where(c[3] < 0.08, jnp.abs(distance) - c[3], distance)


def _star(s, c, seed):
  del seed
  return shapes.star(s.x, s.y, c[0], c[1] * (0.6 + s.cell), c[2])


def _segment(s, c, seed):
  del seed
  return shapes.segment(s.x, s.y - c[2], c[0], c[1] * (0.5 + s.cell))


def _crescent(s, c, seed):
  del seed
  return shapes.crescent(s.x, s.y, c[0] * (0.6 + 0.6 * s.cell), c[1])


def _flower(s, c, seed):
  """A radius that swings with the angle."""
  del seed
  petals = c[2] * noise.cosine(noise.angle(s.x, s.y) * c[0] + c[3])
  return jnp.sqrt(s.x * s.x + s.y * s.y) - c[1] * (1.0 + petals)


def _spiral(s, c, seed):
  del seed
  radius = jnp.sqrt(s.x * s.x + s.y * s.y)
  arms = noise.angle(s.x, s.y) * c[0] + c[1] * jnp.log(radius + 0.05) + c[2]
  return jnp.clip(noise.sine(arms) * c[3], -1.0, 1.0)


def _balls(s, c, seed):
  """Four drops that move about and melt together."""
  total = jnp.full_like(s.x, -1.0)
  for i in range(4):
    bits = noise.scramble(seed + jnp.uint32(i * 7919 + 1))
    a, b = noise.unit_pair(bits)
    dx = s.x - 0.8 * noise.sine(a + c[2] * (i + 1))
    dy = s.y - 0.8 * noise.sine(b + c[3] * (i + 1))
    total = total + c[0] * 0.1 / (dx * dx + dy * dy + 0.02)
  return -jnp.clip(total * c[1], -1.5, 1.5)


def _truchet(s, c, seed):
  """Quarter circles that join across randomly turned tiles."""
  fx, fy, bx, by = noise.lattice(s.x * c[0], s.y * c[0], seed)
  flip = (noise.scramble(bx + by) & 1) == 1
  fx = jnp.where(flip, 1.0 - fx, fx)
  near = jnp.abs(jnp.sqrt(fx * fx + fy * fy) - 0.5)
  gx, gy = 1.0 - fx, 1.0 - fy
  far = jnp.abs(jnp.sqrt(gx * gx + gy * gy) - 0.5)
  return 4.0 * (jnp.minimum(near, far) - c[1])


def _escape(s, c, seed):
  """A Julia set's smooth escape time, eight steps."""
  del seed
  x, y = s.x * c[2], s.y * c[2]

  def step(_, carry):
    x, y, time = carry
    x, y = x * x - y * y + c[0], 2.0 * x * y + c[1]
    # A bounded sum in place of a count: smooth, and never infinite.
    square = jnp.minimum(x * x + y * y, 1e3)
    time = time + 1.0 / (1.0 + square)
    return jnp.clip(x, -30.0, 30.0), jnp.clip(y, -30.0, 30.0), time

  start = (x, y, jnp.zeros_like(x))
  return 0.5 * jax.lax.fori_loop(0, 8, step, start)[2] - 1.5


def _trap(s, c, seed):
  """The least distance of a folded orbit to a cross: glowing filaments."""
  del seed
  x, y = s.x * c[2], s.y * c[2]

  def step(_, carry):
    x, y, least = carry
    scale = 1.0 / (x * x + y * y + 0.02)
    x, y = jnp.abs(x) * scale - c[0], jnp.abs(y) * scale - c[1]
    least = jnp.minimum(least, jnp.minimum(jnp.abs(x), jnp.abs(y + 0.2)))
    return x, y, least

  start = (x, y, jnp.full_like(x, 1.5))
  return jnp.sqrt(jax.lax.fori_loop(0, 5, step, start)[2]) * 2.0 - 1.0


_FREQUENCY = log(0.35, 1.8)
_OFFSET = linear(0, 8, 0.15)
_SPOT = linear(-0.5, 0.5, 0.04)
_SHARE = linear(0, 1)

FIELDS = table(
  [
    Operator("ramp", _ramp, 1.2, (PHASE, _SPOT)),
    Operator(
      "stripes", _stripes, 0.9, (PHASE, log(0.3, 2.6), log(0.7, 6.0), PHASE)
    ),
    Operator(
      "plasma", _plasma, 1.2, (log(0.25, 1.2), log(0.25, 1.2), PHASE, PHASE)
    ),
    Operator("rings", _rings, 0.8, (log(0.4, 2.2), PHASE, whole(0, 3))),
    Operator(
      "checker", _checker, 0.5, (log(0.35, 1.4), log(1.0, 12.0), PHASE, PHASE)
    ),
    Operator(
      "value", _clouds, 1.0, (_FREQUENCY, _SHARE, _OFFSET, _OFFSET, fixed(0))
    ),
    Operator(
      "fractal",
      _clouds,
      1.3,
      (log(0.35, 2.0), _SHARE, _OFFSET, _OFFSET, fixed(1)),
    ),
    Operator(
      "warped",
      _clouds,
      1.0,
      (log(0.3, 1.4), _SHARE, _OFFSET, _OFFSET, fixed(2)),
    ),
    Operator(
      "simplex",
      _gradients,
      1.0,
      (log(0.3, 1.6), _SHARE, _OFFSET, _OFFSET, fixed(0)),
    ),
    Operator(
      "ridged",
      _gradients,
      0.8,
      (log(0.25, 1.0), _SHARE, _OFFSET, _OFFSET, fixed(1)),
    ),
    Operator(
      "billow",
      _gradients,
      0.8,
      (log(0.25, 1.2), _SHARE, _OFFSET, _OFFSET, fixed(2)),
    ),
    Operator(
      "cells", _points, 1.0, (_FREQUENCY, _SHARE, _OFFSET, _OFFSET, fixed(0))
    ),
    Operator(
      "borders", _points, 0.8, (_FREQUENCY, _SHARE, _OFFSET, _OFFSET, fixed(1))
    ),
    Operator(
      "patches",
      _points,
      1.0,
      (_FREQUENCY, linear(0.3, 1), _OFFSET, _OFFSET, fixed(2)),
    ),
    Operator("cell", _cell, 0.5, (log(0.5, 3.0), PHASE)),
    Operator(
      "disc", _disc, 1.6, (log(0.3, 1.2), linear(0.03, 0.5), _SPOT, _SPOT)
    ),
    Operator("box", _box, 1.2, (log(0.25, 1.1), log(0.2, 1.0), linear(0, 1))),
    Operator("cross", _cross, 0.5, (log(0.4, 1.1), log(0.1, 0.4))),
    Operator(
      "polygon",
      _polygon,
      1.1,
      (whole(3, 8), log(0.35, 1.1), PHASE, linear(0.02, 0.3)),
    ),
    Operator(
      "star", _star, 0.8, (whole(3, 9), log(0.4, 1.1), linear(0.2, 0.8))
    ),
    Operator("segment", _segment, 0.8, (log(0.4, 1.5), log(0.08, 0.45), _SPOT)),
    Operator(
      "crescent", _crescent, 0.6, (log(0.4, 1.1), linear(0.15, 0.5, 0.02))
    ),
    Operator(
      "flower", _flower, 0.9, (whole(2, 9), log(0.4, 1.0), log(0.1, 0.6), PHASE)
    ),
    Operator(
      "spiral",
      _spiral,
      0.6,
      (whole(1, 5), linear(-1.2, 1.2), PHASE, log(0.8, 5.0)),
    ),
    Operator(
      "balls", _balls, 0.9, (log(0.5, 2.0), log(0.5, 2.5), PHASE, PHASE)
    ),
    Operator("truchet", _truchet, 0.5, (log(0.7, 2.4), linear(0.04, 0.25))),
    Operator(
      "escape",
      _escape,
      0.7,
      (linear(-1.0, 0.4, 0.015), linear(-0.7, 0.7, 0.015), log(0.7, 1.6)),
    ),
    Operator(
      "trap",
      _trap,
      0.5,
      (linear(0.4, 1.1, 0.015), linear(0.3, 1.0, 0.015), log(0.5, 1.5)),
    ),
  ]
)
