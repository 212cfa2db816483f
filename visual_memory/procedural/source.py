"""Procedural pictures by program id: the source of pretraining.

images = sample_images(key, program_ids, size=64, seed=0)  # uint8 [B, S, S, 3]
"""

import functools
import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

from visual_memory.procedural import degenerate, programs, render


def sample_images(
  key: jax.Array, program_ids: Int[Array, "B"], *, size: int, seed: int
) -> UInt8[Array, "B S S 3"]:
  """A picture of each program, from a random view at a random time.

  A picture is a function of the key, the program's id, the size and the seed:
  other members of the batch, its size and the devices change nothing. So the
  same id twice in one batch gives the same picture twice.

  Args:
    key: typed; chooses views and times.
    program_ids: int32 [B], not negative; an id is a class.
    size: S.
    seed: fixes which program an id is.
  """
  return _sample(key, jnp.asarray(program_ids), jnp.uint32(seed), size=size)


@functools.partial(jax.jit, static_argnames=("size",))
def _sample(key, program_ids, seed, *, size: int):
  found = programs_of(program_ids, seed=seed)[0]
  views = jax.vmap(programs.draw_view)(keys_of(key, program_ids, "view"))
  return quantize(render.render(found, views, size=size))


def programs_of(program_ids: Int[Array, "B"], *, seed):
  """The programs of these ids, and how many attempts each one took more."""
  root = jax.random.key(seed, impl="threefry2x32")
  keys = keys_of(root, program_ids, "program")
  attempts = jax.vmap(
    lambda key: jax.vmap(
      lambda attempt: programs.draw(jax.random.fold_in(key, attempt))
    )(jnp.arange(degenerate.NUM_ATTEMPTS))
  )(keys)
  return render.over_programs(degenerate.settle_attempts, attempts)


def keys_of(key: jax.Array, ids: Int[Array, "B"], name: str) -> jax.Array:
  """A key for each id: by name, then by id."""
  named = jax.random.fold_in(key, zlib.crc32(name.encode()))
  return jax.vmap(lambda id: jax.random.fold_in(named, id))(ids)


def quantize(images):
  """[0, 1] as uint8, rounded to nearest."""
  return jnp.round(images * 255.0).astype(jnp.uint8)
