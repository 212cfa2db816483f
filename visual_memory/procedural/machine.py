"""Pictures of many programs on every device: settled, then drawn tile by tile.

  images = draw(program_words, view_words, size=64, mesh=mesh)  # uint8

A program whose picture is flat or mere noise is drawn again from the next
attempt of its words, so that a picture is a function of its words. One program
is compiled for each mesh, and draws any number of pictures of any size.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import UInt8, UInt32

from visual_memory import distributed
from visual_memory.procedural import degenerate, noise, programs, render
from visual_memory.procedural.render import TILE
from visual_memory.types import Array

NUM_ATTEMPTS = 6
TILES = 16
"""Tiles of each picture that one call of the machine draws."""

_ROWS = PartitionSpec(distributed.DATA)


class Settled(NamedTuple):
  """What probing has found about B programs.

  Attributes:
    done: whether a program is settled, bool [B].
    attempt: which attempt it is, or that is to be probed next, int32 [B].
    center: mean height of each layer, [B, layers].
    scale: 1 / standard deviation of each layer's height, likewise.
    rejected: how many attempts were degenerate, int32 [B].
  """

  done: Array
  attempt: Array
  center: Array
  scale: Array
  rejected: Array


def draw(
  program_words: UInt32[Array, "B N 2"],
  view_words: UInt32[Array, "B N 2"],
  *,
  size: int,
  mesh: Mesh,
) -> UInt8[Array, "B N S S 3"]:
  """Pictures of programs from views.

  Args:
    program_words: rows split over the mesh.
    view_words: likewise.
    size: S, the side in pixels.
    mesh: the devices.
  """
  batch, num = program_words.shape[:2]
  share = batch // mesh.size * num
  width = _width()
  chunks = -(-share // width)
  side = -(-size // TILE)
  machine = _machine(mesh, width)
  tiles = []
  for chunk in range(chunks):
    count = min(width, share - chunk * width)
    words = _piece(program_words, view_words, chunk, mesh=mesh, width=width)
    state = _unsettled(mesh, width)
    parts = []
    for first in range(0, side * side, TILES):
      numbers = np.array(
        [first, min(TILES, side * side - first), side, count], np.int32
      )
      drawn, state = machine(*words, state, numbers, np.float32(2.0 / size))
      parts.append(drawn)
    tiles.append(tuple(parts))
  return _assembled(tuple(tiles), mesh=mesh, num=num, share=share, size=size)


def settle(
  program_words: UInt32[Array, "B 2"], *, mesh: Mesh | None = None
) -> Settled:
  """Which attempt of each program is taken, and its scaling.

  Should all attempts be degenerate, the last one is taken. At most as many
  programs as the machine is wide.
  """
  mesh = distributed.make_mesh(1) if mesh is None else mesh
  count, width = len(program_words), _width()
  which = np.minimum(np.arange(width), count - 1)
  # Placed as by `draw`: another placement would be another compilation.
  words = jax.device_put(program_words[which], distributed.row_sharding(mesh))
  numbers = np.array([0, 0, 1, count], np.int32)
  _, state = _machine(mesh, width)(
    words, words, _unsettled(mesh, width), numbers, np.float32(1.0)
  )
  return jax.tree.map(lambda leaf: leaf[:count], state)


def _width() -> int:
  """How many programs one call of the machine takes on each device."""
  return 32 if jax.default_backend() == "cpu" else 1024


@functools.cache
def _unsettled(mesh: Mesh, width: int) -> Settled:
  """Before any probe."""
  rows, layers = mesh.size * width, programs.NUM_LAYERS
  state = Settled(
    done=np.zeros(rows, bool),
    attempt=np.zeros(rows, np.int32),
    center=np.zeros((rows, layers), np.float32),
    scale=np.ones((rows, layers), np.float32),
    rejected=np.zeros(rows, np.int32),
  )
  return jax.tree.map(lambda leaf: distributed.shard_rows(leaf, mesh), state)


@functools.partial(jax.jit, static_argnames=("mesh", "width"))
def _piece(program_words, view_words, chunk, *, mesh, width):
  """The chunk's `width` words of every device; the last one repeats."""

  def local(program_words, view_words, chunk):
    flat = program_words.reshape(-1, 2), view_words.reshape(-1, 2)
    which = chunk * width + jnp.arange(width)
    which = jnp.minimum(which, len(flat[0]) - 1)
    return tuple(words[which] for words in flat)

  return jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(_ROWS, _ROWS, PartitionSpec()),
    out_specs=_ROWS,
    check_vma=False,
  )(program_words, view_words, chunk)


@functools.partial(jax.jit, static_argnames=("mesh", "num", "share", "size"))
def _assembled(tiles, *, mesh, num, share, size):
  """Tiles as pictures, on the device that drew them."""
  side = -(-size // TILE)

  def local(tiles):
    rows = [jnp.concatenate(parts, axis=1) for parts in tiles]
    found = jnp.concatenate(rows)[:share, : side * side]
    found = found.reshape(-1, num, side, side, TILE, TILE, 3)
    found = found.swapaxes(3, 4).reshape(-1, num, side * TILE, side * TILE, 3)
    return found[:, :, :size, :size]

  return jax.shard_map(
    local, mesh=mesh, in_specs=(_ROWS,), out_specs=_ROWS, check_vma=False
  )(tiles)


_CPU_OPTIONS = {
  "xla_backend_optimization_level": 1,
  "xla_llvm_disable_expensive_passes": True,
}
"""The machine's few hundred small loops compile in half the time, and run no
slower, without all that LLVM tries by default."""


@functools.cache
def _machine(mesh: Mesh, width: int):
  """The compiled machine: `_draw_some` on every device."""
  everywhere = PartitionSpec()
  return jax.jit(
    jax.shard_map(
      functools.partial(_draw_some, width=width),
      mesh=mesh,
      in_specs=(_ROWS, _ROWS, _ROWS, everywhere, everywhere),
      out_specs=_ROWS,
      check_vma=False,
    ),
    compiler_options=_CPU_OPTIONS if jax.default_backend() == "cpu" else None,
  )


def _draw_some(program_words, view_words, state, numbers, pixel, *, width):
  """Tiles [width, TILES, TILE, TILE, 3] of programs, and their settled state.

  Args:
    program_words: [width, 2].
    view_words: likewise.
    state: Settled; what is not done is probed first.
    numbers: the first tile, how many tiles, tiles a side, and how many of the
      programs are wanted.
    pixel: side of a pixel.
    width: programs.
  """
  attempts = jax.vmap(
    lambda words: jax.vmap(
      lambda attempt: programs.draw(noise.derived(words, attempt))
    )(jnp.arange(NUM_ATTEMPTS))
  )(program_words)
  attempts, layout = programs.packed(attempts)
  views = jax.vmap(programs.draw_view)(view_words)
  one = functools.partial(
    _draw_one, layout=layout, numbers=numbers, pixel=pixel
  )
  blank = jnp.zeros((width, TILES, TILE, TILE, 3), jnp.uint8)
  if jax.default_backend() != "cpu":
    return jax.vmap(one)(attempts, views, state, blank)

  def body(index, carry):
    tiles, state = carry
    at = lambda leaf: leaf[index]
    drawn = one(*jax.tree.map(at, (attempts, views, state, tiles)))
    return jax.tree.map(
      lambda leaf, new: leaf.at[index].set(new), (tiles, state), drawn
    )

  return jax.lax.fori_loop(0, numbers[3], body, (blank, state))


def _draw_one(attempts, view, state, tiles, *, layout, numbers, pixel):
  """Probes one program until it is settled, then draws its tiles.

  In one loop, so that there is one machine: a probe is a tile too.
  """
  first, count, side = numbers[0], numbers[1], numbers[2]

  def unfinished(carry):
    state, number, _ = carry
    return ~state.done | (number < count)

  def step(carry):
    state, number, tiles = carry
    row, column = jnp.divmod(first + number, side)
    place = render.Place(
      row=jnp.where(state.done, row * TILE, 0).astype(jnp.float32),
      column=jnp.where(state.done, column * TILE, 0).astype(jnp.float32),
      pixel=jnp.where(state.done, pixel, 2.0 / TILE),
    )
    seen = programs.View(*jnp.where(state.done, view, programs.HOME))
    color, (center, scale) = render.tile(
      attempts[state.attempt],
      (state.center, state.scale),
      seen,
      place,
      layout=layout,
      calibrate=~state.done,
    )
    gray = 0.3 * color[0] + 0.6 * color[1] + 0.1 * color[2]
    bad = degenerate.is_flat(gray) | degenerate.is_noise(gray)
    last = state.attempt == NUM_ATTEMPTS - 1
    probed = Settled(
      done=~bad | last,
      attempt=state.attempt + (bad & ~last),
      center=center,
      scale=scale,
      rejected=state.rejected + bad,
    )
    pixels = jnp.round(jnp.moveaxis(color, 0, -1) * 255.0).astype(jnp.uint8)
    # While it is probed the first place is written to, and again by its tile.
    tiles = jax.lax.dynamic_update_index_in_dim(
      tiles, pixels, jnp.where(state.done, number, 0), 0
    )
    new = jax.tree.map(lambda a, b: jnp.where(state.done, a, b), state, probed)
    return new, number + state.done, tiles

  state, _, tiles = jax.lax.while_loop(
    unfinished, step, (state, jnp.int32(0), tiles)
  )
  return tiles, state
