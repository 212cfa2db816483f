"""Signed distances to plane shapes: negative inside, positive outside.

Exact or a close bound, for unit-sized shapes about the origin; angles in turns.

Reference: the constructions are those of I. Quilez's "2D distance functions".
"""

import jax.numpy as jnp

from visual_memory.procedural import noise

Field = noise.Field


def circle(x: Field, y: Field, radius) -> Field:
  """Distance to a disc."""
  return jnp.sqrt(x * x + y * y) - radius


def box(x: Field, y: Field, width, height, corner) -> Field:
  """Distance to a box of half sizes width, height with round corners."""
  ax = jnp.abs(x) - width + corner
  ay = jnp.abs(y) - height + corner
  ox, oy = jnp.maximum(ax, 0.0), jnp.maximum(ay, 0.0)
  outside = jnp.sqrt(ox * ox + oy * oy)
  return outside + jnp.minimum(jnp.maximum(ax, ay), 0.0) - corner


def cross(x: Field, y: Field, length, width) -> Field:
  """Distance to two crossing bars."""
  ax, ay = jnp.abs(x), jnp.abs(y)
  long, short = jnp.maximum(ax, ay), jnp.minimum(ax, ay)
  return jnp.maximum(long - length, short - width)


def polygon(x: Field, y: Field, sides, radius) -> Field:
  """Distance bound to a regular polygon with this many sides."""
  around = noise.angle(x, y) * sides
  sector = (around - jnp.round(around)) / sides
  return jnp.sqrt(x * x + y * y) * noise.cosine(sector) - radius


def star(x: Field, y: Field, points, radius, depth) -> Field:
  """Distance bound to a star; depth in (0, 1) is how deep it is cut."""
  around = noise.angle(x, y) * points
  sector = jnp.abs(around - jnp.round(around)) / points
  length = jnp.sqrt(x * x + y * y)
  ax, ay = length * noise.cosine(sector), length * noise.sine(sector)
  return (ax - radius) * (1.0 - depth) + ay * (depth + 0.6)


def segment(x: Field, y: Field, half, radius) -> Field:
  """Distance to a capsule along x."""
  ox = jnp.maximum(jnp.abs(x) - half, 0.0)
  return jnp.sqrt(ox * ox + y * y) - radius


def crescent(x: Field, y: Field, radius, shift) -> Field:
  """Distance bound to a disc without a shifted disc."""
  return jnp.maximum(circle(x, y, radius), -circle(x - shift, y, radius * 0.85))


def smooth_minimum(a: Field, b: Field, width) -> Field:
  """The lesser of both, rounded where they are closer than width."""
  h = jnp.maximum(width - jnp.abs(a - b), 0.0) / width
  return jnp.minimum(a, b) - 0.25 * width * h * h
