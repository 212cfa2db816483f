"""Probing: a program's scaling, and whether it is worth looking at.

A program whose picture is flat or mere noise is drawn again, from the next
attempt of the same key, so that the result is still a function of the key.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from visual_memory.procedural import programs, render
from visual_memory.procedural.programs import Program
from visual_memory.types import Array

PROBE_SIZE = 32
NUM_ATTEMPTS = 6

LEAST_CONTRAST = 0.07
"""A picture with a smaller standard deviation of brightness is flat."""

LEAST_LIKENESS = 0.2
"""A picture whose neighbors correlate less is noise."""


def is_flat(gray: Float[Array, "H W"]) -> Bool[Array, ""]:
  """Whether brightness hardly varies, over the picture or but for a corner."""
  center = gray - jnp.mean(gray)
  spread = jnp.sqrt(jnp.mean(center * center))
  quarter = gray.shape[0] // 4
  blocks = gray[: quarter * 4, : quarter * 4].reshape(4, quarter, 4, quarter)
  means = jnp.mean(blocks, axis=(1, 3), keepdims=True)
  inner = jnp.mean((blocks - means) ** 2, axis=(1, 3))
  # At least five of sixteen blocks have something to see.
  busy = jnp.sum(inner > 0.02**2)
  return (spread < LEAST_CONTRAST) | (busy < 5)


def is_noise(gray: Float[Array, "H W"]) -> Bool[Array, ""]:
  """Whether neighboring pixels have little to do with each other."""
  center = gray - jnp.mean(gray)
  power = jnp.mean(center * center) + 1e-6
  along_x = jnp.mean(center[:, 1:] * center[:, :-1]) / power
  along_y = jnp.mean(center[1:] * center[:-1]) / power
  return jnp.minimum(along_x, along_y) < LEAST_LIKENESS


def probe(program: Program) -> tuple[Program, Bool[Array, ""]]:
  """The program with its heights standardized, and whether it is degenerate."""
  color, (center, scale) = render.picture(
    program, programs.HOME, size=PROBE_SIZE, calibrate=True
  )
  gray = 0.3 * color[0] + 0.6 * color[1] + 0.1 * color[2]
  program = dataclasses.replace(program, center=center, scale=scale)
  return program, is_flat(gray) | is_noise(gray)


def settle(keys: jax.Array) -> tuple[Program, Int[Array, "B"]]:
  """The program of each key: its first attempt that is not degenerate.

  Returns:
    (B programs, how many attempts of each were degenerate). Should all
    NUM_ATTEMPTS be, the last one is returned.
  """
  attempts = jax.vmap(
    lambda key: jax.vmap(
      lambda attempt: programs.draw(jax.random.fold_in(key, attempt))
    )(jnp.arange(NUM_ATTEMPTS))
  )(keys)
  return render.over_programs(_settle, attempts)


def _settle(attempts: Program) -> tuple[Program, Int[Array, ""]]:
  """The first of these programs that is not degenerate, or the last."""

  def take(index):
    return jax.tree.map(lambda leaf: leaf[index], attempts)

  def unsettled(state):
    _, degenerate, index = state
    return degenerate & (index < NUM_ATTEMPTS)

  def attempt(state):
    _, _, index = state
    program, degenerate = probe(take(index))
    return program, degenerate, index + 1

  start = (take(0), jnp.bool_(True), jnp.int32(0))
  program, degenerate, index = jax.lax.while_loop(unsettled, attempt, start)
  return program, index - 1 + degenerate.astype(jnp.int32)
