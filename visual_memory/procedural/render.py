"""One compiled machine that draws every program.

images = render(programs, views, size=128)     # float32 [B, S, S, 3] in [0, 1]

Programs are data: drawing others does not compile again. On a CPU, programs
are drawn one after the other, and only the code of their own operators runs;
on accelerators many are drawn at once, every operator is computed, and the
right result selected.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float

from visual_memory.procedural import domain, steps
from visual_memory.procedural.domain import DOMAIN, State
from visual_memory.procedural.fields import FIELDS
from visual_memory.procedural.programs import Program, View
from visual_memory.types import Array


def chunk_size() -> int:
  """How many programs are drawn at once on the default backend."""
  return 1 if jax.default_backend() == "cpu" else 64


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


def render(
  programs: Program, views: View, *, size: int
) -> Float[Array, "B S S 3"]:
  """Pictures of B programs, RGB in [0, 1].

  Args:
    programs: with a leading axis B, probed.
    views: likewise.
    size: S, the side in pixels.
  """

  def draw(item):
    return jnp.stack(picture(*item, size=size, calibrate=False)[0], axis=-1)

  return over_programs(draw, (programs, views))


def picture(
  program: Program, view: View, *, size: int, calibrate: bool
) -> tuple[steps.Color, tuple[Array, Array]]:
  """One picture as three channels [S, S] in [0, 1], and each layer's scaling.

  Args:
    program: one program.
    view: one view.
    size: S.
    calibrate: whether heights are standardized by this very picture, and not
      by the program's own center and scale.

  Returns:
    (red, green, blue), (center [layers], scale [layers]).
  """
  x, y = _coordinates(view, size)
  pixel = 2.0 / size
  moving = (
    program.move_constants + program.move_drift * view.time,
    program.field_constants + program.field_drift * view.time,
  )
  layers = dataclasses.replace(
    program,
    move_constants=moving[0],
    field_constants=moving[1],
    finish=jnp.zeros(program.active.shape),
  )
  zero = jnp.zeros_like(x)

  def draw_layer(carry, layer: Program):
    def draw(carry):
      return _layer(carry, layer, (x, y), pixel=pixel, calibrate=calibrate)

    def skip(carry):
      return carry, (jnp.float32(0.0), jnp.float32(1.0))

    return jax.lax.cond(layer.active > 0, draw, skip, carry)

  start = ((zero, zero, zero), State(x, y, zero, zero), jnp.bool_(True))
  (color, _, _), scaling = jax.lax.scan(draw_layer, start, layers)
  return _finish(program.finish, color, size), scaling


def _coordinates(view: View, size: int):
  """The view's coordinates of every pixel's middle."""
  line = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2.0 / size) - 1.0
  x = jnp.broadcast_to(line[None, :], (size, size)) * view.zoom
  y = jnp.broadcast_to(line[:, None], (size, size)) * view.zoom
  x, y = domain.rotate(x, y, view.turns)
  return x + view.x, y + view.y


def _layer(carry, layer: Program, start, *, pixel: float, calibrate: bool):
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
  state = _move(state, layer)
  height = _height(state, layer)
  center, scale = layer.center, layer.scale
  if calibrate:
    center = jnp.mean(height)
    spread = jnp.sqrt(jnp.mean((height - center) ** 2))
    scale = 1.0 / jnp.maximum(spread, 0.02)
  height = jnp.clip((height - center) * scale, -3.0, 3.0)
  remapped = jax.lax.switch(
    layer.remap, steps.REMAP, height, layer.remap_constant
  )
  color = steps.colorize(paint, remapped, state.cell, state.past)
  color = steps.illuminate(paint, color, *steps.slopes(remapped), pixel)
  dx, dy = steps.slopes(height)
  mask, shadow = steps.cut(paint, height, jnp.abs(dx) + jnp.abs(dy))
  mask = jnp.where(first, 1.0, mask)
  below = tuple(c * (1.0 - shadow) for c in below)
  blend = jnp.where(first, 0, layer.blend)
  color = jax.lax.switch(
    blend,
    [
      lambda b, c, m, mode=mode: tuple(
        mode(*pair, m) for pair in zip(b, c, strict=True)
      )
      for mode in steps.BLEND
    ],
    below,
    color,
    mask,
  )
  state = state._replace(past=height)
  return (color, state, jnp.bool_(False)), (center, scale)


def _move(state: State, layer: Program) -> State:
  """The state after the layer's operators on coordinates."""

  def step(state, item):
    code, constants, seed = item
    x, y, cell = jax.lax.switch(code, DOMAIN.functions, state, constants, seed)
    x, y = jnp.clip(x, -30.0, 30.0), jnp.clip(y, -30.0, 30.0)
    return state._replace(x=x, y=y, cell=cell), None

  num = layer.moves.shape[0]
  items = (layer.moves, layer.move_constants, layer.seeds[:num])
  return jax.lax.scan(step, state, items)[0]


def _height(state: State, layer: Program):
  """The layer's height, before it is standardized."""

  def step(height, item):
    code, constants, seed, how, amount = item
    new = jax.lax.switch(code, FIELDS.functions, state, constants, seed)
    return jax.lax.switch(how, steps.COMBINE, height, new, amount), None

  num = layer.moves.shape[0]
  items = (
    layer.fields,
    layer.field_constants,
    layer.seeds[num:],
    layer.combine,
    layer.combine_constant,
  )
  return jax.lax.scan(step, jnp.zeros_like(state.x), items)[0]


def _finish(finish, color: steps.Color, size: int) -> steps.Color:
  """Vignette, contrast and saturation; clipped to [0, 1]."""
  line = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2.0 / size) - 1.0
  square = line * line
  dark = 1.0 - 0.5 * finish[0] * (square[:, None] + square[None, :])
  color = tuple(dark * (0.5 + finish[1] * (c - 0.5)) for c in color)
  gray = 0.3 * color[0] + 0.6 * color[1] + 0.1 * color[2]
  # In a loop, or a CPU would do all of this for each number of [S, S, 3] apart.
  return tuple(
    jax.lax.map(
      lambda c: jnp.clip(gray + finish[2] * (c - gray), 0.0, 1.0),
      jnp.stack(color),
    )
  )
