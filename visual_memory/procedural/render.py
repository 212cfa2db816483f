"""One compiled machine that draws every program at every size.

It draws tiles of 16 x 16 pixels, each pixel the mean of 2 x 2 samples. Programs
are data, and so are a tile's place and a picture's size: drawing others does
not compile again. On a CPU, programs are drawn one after the other, and only
the code of their own operators runs; on accelerators many are drawn at once,
every operator is computed, and the right result selected.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import UInt32

from visual_memory.procedural import domain, steps
from visual_memory.procedural.domain import DOMAIN, State
from visual_memory.procedural.fields import FIELDS
from visual_memory.procedural.programs import Layout, Program, View, unpacked
from visual_memory.types import Array

TILE = 16
"""Side of a tile in pixels."""

SAMPLES = 2
"""Samples along each side of a pixel."""


class Place(NamedTuple):
  """Which tile of which picture.

  Attributes:
    row: its first row of pixels.
    column: its first column.
    pixel: side of a pixel, in units of the picture's half height.
  """

  row: Array
  column: Array
  pixel: Array


def chunk_size() -> int:
  """How many programs are drawn at once on the default backend."""
  return 1 if jax.default_backend() == "cpu" else 256


def over_programs(function, items):
  """function mapped over the leading axis, chunk by chunk.

  A chunk has the same shape whatever the number of items, so that an item's
  result does not depend on the others.
  """
  chunk = chunk_size()
  if chunk == 1:
    return jax.lax.map(function, items)
  count = len(jax.tree.leaves(items)[0])
  num_chunks = -(-count // chunk)

  def split(leaf):
    # The last item repeats: padding must be a program like any other.
    rows = jnp.minimum(jnp.arange(num_chunks * chunk), count - 1)
    return leaf[rows].reshape(num_chunks, chunk, *leaf.shape[1:])

  results = jax.lax.map(jax.vmap(function), jax.tree.map(split, items))
  return jax.tree.map(
    lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], results
  )


def tile(
  layers: UInt32[Array, "layers numbers"],
  scaling: tuple[Array, Array],
  view: View,
  place: Place,
  *,
  layout: Layout,
  calibrate: Array,
) -> tuple[Array, tuple[Array, Array]]:
  """Three channels in [0, 1], and each layer's scaling.

  Args:
    layers: a packed program.
    scaling: mean height of each layer, as the probe found it, and 1 / standard
      deviation, [layers] each.
    view: one view.
    place: one place.
    layout: of the packed program.
    calibrate: whether heights are standardized by this very tile, and not by
      the scaling.

  Returns:
    red, green and blue [3, TILE, TILE]; (center [layers], scale [layers]).
  """
  across, down = _grid(place)
  x, y = domain.rotate(across * view.zoom, down * view.zoom, view.turns)
  x, y = x + view.x, y + view.y
  spacing = place.pixel / SAMPLES
  zero = jnp.zeros_like(x)

  def draw_layer(carry, item):
    row, scaling = item
    layer = unpacked(row, layout)

    def draw(carry):
      return _layer(carry, layer, scaling, (x, y), view, spacing, calibrate)

    def skip(carry):
      return carry, (jnp.float32(0.0), jnp.float32(1.0))

    return jax.lax.cond(layer.active > 0, draw, skip, carry)

  start = (jnp.stack([zero] * 3), State(x, y, zero, zero), jnp.bool_(True))
  (color, _, _), scaling = jax.lax.scan(draw_layer, start, (layers, scaling))
  finish = unpacked(layers[0], layout).finish
  color = _finish(finish, color, across * across + down * down)
  return jnp.mean(color, axis=(1, 2)), scaling


def _grid(place: Place) -> tuple[Array, Array]:
  """Coordinates of every sample, [SAMPLES, SAMPLES, TILE, TILE].

  They run from -1 to 1 over the picture, before its view.
  """
  within = (jnp.arange(SAMPLES, dtype=jnp.float32) + 0.5) / SAMPLES
  pixels = jnp.arange(TILE, dtype=jnp.float32)
  line = within[:, None] + pixels[None, :]  # [SAMPLES, TILE]
  across = (line + place.column) * place.pixel - 1.0
  down = (line + place.row) * place.pixel - 1.0
  shape = (SAMPLES, SAMPLES, TILE, TILE)
  return (
    jnp.broadcast_to(across[None, :, None, :], shape),
    jnp.broadcast_to(down[:, None, :, None], shape),
  )


def _layer(carry, layer: Program, scaling, start, view, spacing, calibrate):
  """The picture with one more layer over it."""
  below, state, first = carry
  paint = layer.paint
  keep = paint.inherit
  state = State(
    start[0] + keep * (state.x - start[0]),
    start[1] + keep * (state.y - start[1]),
    state.cell * keep,
    state.past,
  )
  state = _move(state, layer, view.time)
  height = _height(state, layer, view.time)
  mean = jnp.mean(height)
  spread = jnp.sqrt(jnp.mean((height - mean) ** 2))
  center = jnp.where(calibrate, mean, scaling[0])
  scale = jnp.where(calibrate, 1.0 / jnp.maximum(spread, 0.02), scaling[1])
  height = jnp.clip((height - center) * scale, -3.0, 3.0)
  remapped = jax.lax.switch(
    layer.remap, steps.REMAP, height, layer.remap_constant
  )
  color = steps.colorize(paint, remapped, state.cell, state.past)
  color = steps.illuminate(paint, color, *steps.slopes(remapped), spacing)
  dx, dy = steps.slopes(height)
  mask, shadow = steps.cut(paint, height, jnp.abs(dx) + jnp.abs(dy))
  mask = jnp.where(first, 1.0, mask)
  blend = jnp.where(first, 0, layer.blend)
  below = below * (1.0 - shadow)[None]
  color = steps.chosen(steps.BLEND, blend, below, color, mask[None])
  state = state._replace(past=height)
  return (color, state, jnp.bool_(False)), (center, scale)


def _move(state: State, layer: Program, time: Array) -> State:
  """The state after the layer's operators on coordinates."""

  def step(state, item):
    code, constants, seed = item
    x, y, cell = jax.lax.switch(
      jnp.asarray(DOMAIN.branch)[code], DOMAIN.functions, state, constants, seed
    )
    x, y = jnp.clip(x, -30.0, 30.0), jnp.clip(y, -30.0, 30.0)
    return state._replace(x=x, y=y, cell=cell), None

  num = layer.moves.shape[0]
  constants = layer.move_constants + layer.move_drift * time
  items = (layer.moves, constants, layer.seeds[:num])
  return jax.lax.scan(step, state, items)[0]


def _height(state: State, layer: Program, time: Array):
  """The layer's height, before it is standardized."""

  def step(height, item):
    code, constants, seed, how, amount = item
    new = jax.lax.switch(
      jnp.asarray(FIELDS.branch)[code], FIELDS.functions, state, constants, seed
    )
    return steps.chosen(steps.COMBINE, how, height, new, amount), None

  num = layer.moves.shape[0]
  items = (
    layer.fields,
    layer.field_constants + layer.field_drift * time,
    layer.seeds[num:],
    layer.combine,
    layer.combine_constant,
  )
  return jax.lax.scan(step, jnp.zeros_like(state.x), items)[0]


def _finish(finish, color: steps.Color, square: Array) -> steps.Color:
  """Vignette, contrast and saturation; clipped to [0, 1].

  Args:
    finish: the program's.
    color: three channels.
    square: of each sample's distance from the middle of the picture.
  """
  dark = 1.0 - 0.5 * finish[0] * square
  color = dark[None] * (0.5 + finish[1] * (color - 0.5))
  gray = (0.3 * color[0] + 0.6 * color[1] + 0.1 * color[2])[None]
  return jnp.clip(gray + finish[2] * (color - gray), 0.0, 1.0)
