"""Random shader programs as small arrays, and the grammar that draws them.

program = draw(words)              # uint32 [2], a program's own
view = draw_view(words)            # where from, and when, to look

A program is a stack of layers. A layer moves the plane (a few operators on
coordinates), draws on it (a few heights, combined), remaps the height, colors
it by a palette, lights it as a relief, and blends it over the layers below
through a mask that its height cuts out. Operators are codes into the tables of
domain.py, fields.py and steps.py; all else is constants.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt32

from visual_memory.procedural import noise, operators, steps
from visual_memory.procedural.domain import DOMAIN
from visual_memory.procedural.fields import FIELDS
from visual_memory.types import Array

GRAMMAR_VERSION = 2
"""Changes whenever a program id would give another picture."""

NUM_LAYERS = 4
NUM_MOVES = 3
NUM_FIELDS = 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """One shader program; a batch of programs has leading axes.

  Codes are int32, seeds uint32, all else float32.

  Attributes:
    active: whether a layer is drawn, [layers].
    moves: codes into DOMAIN, [layers, moves].
    move_constants: at time 0, [layers, moves, constants].
    move_drift: their change per second, likewise.
    fields: codes into FIELDS, [layers, fields].
    field_constants: at time 0, [layers, fields, constants].
    field_drift: their change per second, likewise.
    combine: codes into COMBINE; a layer's first is always "take".
    combine_constant: [layers, fields].
    remap: codes into REMAP, [layers].
    remap_constant: [layers].
    blend: codes into BLEND, [layers].
    paint: see steps.Paint; each field [layers] or [layers, 3].
    seeds: for hashes, one for each operator, [layers, moves + fields].
    finish: vignette, contrast, saturation, the same for all layers,
      [layers, 3].
  """

  active: Array
  moves: Array
  move_constants: Array
  move_drift: Array
  fields: Array
  field_constants: Array
  field_drift: Array
  combine: Array
  combine_constant: Array
  remap: Array
  remap_constant: Array
  blend: Array
  paint: steps.Paint
  seeds: Array
  finish: Array


class View(NamedTuple):
  """Where from, and when, a program is looked at.

  Attributes:
    zoom: half the height of the picture, in the program's units.
    turns: rotation of the picture.
    x: what is in the middle of the picture.
    y: likewise.
    time: seconds.
  """

  zoom: Array
  turns: Array
  x: Array
  y: Array
  time: Array


HOME = np.array(View(zoom=0.5, turns=0.0, x=0.0, y=0.0, time=5.0), np.float32)
"""The view in which programs are probed: the middle of the others."""


class _Uniform:
  """A vector of uniform numbers, handed out piece by piece."""

  def __init__(self, numbers: Float[Array, "U"]):
    self._numbers, self._used = numbers, 0

  def take(self, *shape: int) -> jax.Array:
    size = int(np.prod(shape))
    piece = self._numbers[self._used : self._used + size]
    self._used += size
    return piece.reshape(shape)

  def between(self, low, high, *shape: int) -> jax.Array:
    return low + (high - low) * self.take(*shape)

  def choose(self, weights: np.ndarray, *shape: int) -> Int[Array, "..."]:
    """Codes with these weights, by the inverse of their sums."""
    sums = np.cumsum(weights / np.sum(weights))[:-1].astype(np.float32)
    numbers = self.take(*shape)
    sums = sums.reshape((1,) * numbers.ndim + (-1,))
    return jnp.sum(numbers[..., None] >= sums, axis=-1, dtype=jnp.int32)


_NUM_UNIFORM = 440


def draw(words: noise.Words) -> Program:
  """The program of two words."""
  uniform = _Uniform(noise.uniform(words, _NUM_UNIFORM))
  layers, moves, fields = NUM_LAYERS, NUM_MOVES, NUM_FIELDS
  count = 1 + uniform.choose(np.array([0.08, 0.3, 0.37, 0.25]))
  move = uniform.choose(DOMAIN.weights, layers, moves)
  field = uniform.choose(FIELDS.weights, layers, fields)
  combine = uniform.choose(steps.COMBINE_WEIGHTS, layers, fields)
  combine = combine.at[:, 0].set(steps.TAKE)
  # A height that is thrown away is the cheapest one.
  field = jnp.where(combine == steps.SKIP, 0, field)
  move_constants, move_drift = _constants(uniform, DOMAIN, move)
  field_constants, field_drift = _constants(uniform, FIELDS, field)
  finish = jnp.stack(
    [
      uniform.between(0.0, 0.5),
      uniform.between(0.9, 1.5),
      uniform.between(0.7, 1.4),
    ]
  )
  seed_bits = noise.random_bits(
    noise.derived(words, 1), layers * (moves + fields)
  ).reshape(layers, moves + fields)
  return Program(
    active=(jnp.arange(layers) < count).astype(jnp.int32),
    moves=move,
    move_constants=move_constants,
    move_drift=move_drift,
    fields=field,
    field_constants=field_constants,
    field_drift=field_drift,
    combine=combine,
    combine_constant=uniform.take(layers, fields),
    remap=uniform.choose(steps.REMAP_WEIGHTS, layers),
    remap_constant=uniform.take(layers),
    blend=uniform.choose(steps.BLEND_WEIGHTS, layers),
    paint=_paint(uniform, layers),
    seeds=seed_bits,
    finish=jnp.broadcast_to(finish, (layers, 3)),
  )


class Layout(NamedTuple):
  """Where the fields of a layer are in a packed row.

  Attributes:
    tree: the structure of a Program.
    shapes: of its fields in one layer.
    dtypes: likewise.
  """

  tree: Any
  shapes: tuple[tuple[int, ...], ...]
  dtypes: tuple[np.dtype, ...]


def packed(program: Program) -> tuple[UInt32[Array, "*B layers n"], Layout]:
  """Programs as one array of bits: every array more is more to compile."""
  leaves, tree = jax.tree.flatten(program)
  lead = program.active.shape
  bits = [
    jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(*lead, -1)
    for leaf in leaves
  ]
  shapes = tuple(leaf.shape[len(lead) :] for leaf in leaves)
  layout = Layout(tree, shapes, tuple(leaf.dtype for leaf in leaves))
  return jnp.concatenate(bits, axis=-1), layout


def unpacked(row: UInt32[Array, "n"], layout: Layout) -> Program:
  """One layer of a program: its fields, without an axis for layers."""
  ends = np.cumsum([math.prod(shape) for shape in layout.shapes])
  return layout.tree.unflatten(
    jax.lax.bitcast_convert_type(piece, dtype).reshape(shape)
    for piece, shape, dtype in zip(
      jnp.split(row, ends[:-1]), layout.shapes, layout.dtypes, strict=True
    )
  )


def _constants(uniform: _Uniform, table: operators.Table, codes) -> tuple:
  """Constants of these operators, and how they drift."""
  low, high = jnp.asarray(table.low)[codes], jnp.asarray(table.high)[codes]
  scale = jnp.asarray(table.scale)[codes]
  u = uniform.take(*low.shape)
  linear = low + u * (high - low)
  positive = jnp.maximum(low, 1e-6)
  log = positive * jnp.exp(u * jnp.log(jnp.maximum(high, 1e-6) / positive))
  whole = jnp.floor(low + u * (high - low + 1.0))
  value = jnp.where(scale == operators.LOG, log, linear)
  value = jnp.where(scale == operators.WHOLE, whole, value)
  swing = 3.4 * uniform.take(*low.shape) - 1.7
  return value, jnp.asarray(table.drift)[codes] * swing


def _paint(uniform: _Uniform, layers: int) -> steps.Paint:
  """Colors of one family for all layers, each with its own light and mask."""
  hue, spread = uniform.take(), uniform.between(-0.3, 0.3)
  relief = uniform.take() < 0.6  # The others are flat and graphic.
  channel = jnp.arange(3, dtype=jnp.float32)
  phase = hue + channel[None] * spread
  phase = phase + uniform.between(-0.22, 0.22, layers, 1)
  phase = phase + uniform.between(-0.08, 0.08, layers, 3)
  level = uniform.between(0.38, 0.62, 1, 3)
  level = level + uniform.between(-0.22, 0.22, layers, 1)
  hard = uniform.take(layers) < 0.4
  softness = jnp.where(hard, 0.0, jnp.exp(uniform.between(-2.5, 0.2, layers)))
  lit = uniform.between(0.15, 1.0, layers) * relief
  light = uniform.take() + uniform.between(-0.04, 0.04, layers)
  return steps.Paint(
    level=level,
    swing=uniform.between(0.18, 0.5, layers, 3),
    rate=uniform.between(0.7, 1.3, layers, 3),
    phase=phase,
    palette_scale=jnp.exp(uniform.between(-2.2, -0.4, layers)),
    cell_color=uniform.between(-0.6, 0.6, layers),
    past_color=uniform.between(-0.15, 0.15, layers),
    relief=lit * jnp.exp(uniform.between(-3.0, -1.0, layers)),
    light=light,
    gloss=lit * uniform.take(layers) * (uniform.take(layers) < 0.5),
    threshold=uniform.between(-0.9, 0.7, layers),
    softness=softness,
    shadow=uniform.between(0.0, 0.8, layers) * (uniform.take(layers) < 0.6),
    opacity=uniform.between(0.75, 1.0, layers),
    inherit=(uniform.take(layers) < 0.35).astype(jnp.float32),
  )


def draw_view(words: noise.Words) -> Float[jax.Array, "5"]:
  """A random View: time in [0.1, 10] s, zoom in [0.3, 0.75], any shift."""
  uniform = _Uniform(noise.uniform(words, 5))
  return jnp.stack(
    View(
      zoom=0.3 * jnp.exp(uniform.take() * np.float32(np.log(2.5))),
      turns=uniform.between(-0.1, 0.1),
      x=uniform.between(-0.5, 0.5),
      y=uniform.between(-0.5, 0.5),
      time=uniform.between(0.1, 10.0),
    )
  )
