"""Schedules of the DINO recipe, as functions of the step.

  learning_rate = warmup_cosine(
    1e-3, 1e-6, num_steps=253_900, warmup_steps=25_390
  )
  learning_rate(0), learning_rate(jnp.int32(100))

Each takes the number of finished steps, an integer or a traced array, and
gives float32; beyond the last step the last value stays.

Reference: Caron et al., "Emerging properties in self-supervised vision
transformers", 2021, and its released code (cosine_scheduler).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Schedule = Callable[[int | jax.Array], jax.Array]


def cosine(first: float, last: float, *, num_steps: int) -> Schedule:
  """Half a cosine: last + (first - last) (1 + cos(pi i / num_steps)) / 2.

  `last` itself would be reached at step num_steps, the first that is not run.
  """
  return warmup_cosine(first, last, num_steps=num_steps, warmup_steps=0)


def warmup_cosine(
  peak: float, last: float, *, num_steps: int, warmup_steps: int
) -> Schedule:
  """A straight line from zero to the peak, then half a cosine to `last`.

  The line contains both its ends: step 0 is zero, and step warmup_steps - 1 is
  the peak, as is the step after it.

  Raises:
    ValueError: no step at all, or more warm-up than steps.
  """
  if not 0 <= warmup_steps <= num_steps or num_steps < 1:
    raise ValueError(
      f"{warmup_steps} warm-up steps of {num_steps}: there must be at least"
      " one step, and no more warm-up steps than that."
    )

  def schedule(step: int | jax.Array) -> jax.Array:
    step = jnp.asarray(step, jnp.float32)
    rising = peak * step / max(1, warmup_steps - 1)
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    turn = jnp.cos(jnp.pi * jnp.clip(done, 0.0, 1.0))
    falling = last + 0.5 * (peak - last) * (1 + turn)
    return jnp.where(step < warmup_steps, rising, falling)

  return schedule


def warmup_linear(first: float, last: float, *, warmup_steps: int) -> Schedule:
  """A straight line from first to last over warmup_steps, then `last`."""

  def schedule(step: int | jax.Array) -> jax.Array:
    step = jnp.asarray(step, jnp.float32)
    done = jnp.clip(step / max(1, warmup_steps - 1), 0.0, 1.0)
    rising = first + (last - first) * done
    return jnp.where(step < warmup_steps, rising, last)

  return schedule
