"""The largest values of each row, without sorting the row."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

_GROUP = 8
_FLOOR_BITS = 22
"""Leading bits by which values are told apart before the largest are taken."""
NOTHING = -1e30
"""Below every score; finite, so that low bits can be written."""


def largest(
  values: Float[Array, "Q W"], count: int
) -> tuple[Float[Array, "Q count"], Int[Array, "Q count"]]:
  """The `count` largest values of each row, descending, and their columns.

  Which of several equal values at the end are taken is not defined. On a CPU,
  whose top_k keeps a heap, what cannot be among them is lowered first.
  """
  width = values.shape[1]
  count = min(count, width)
  if width % _GROUP or width < 2 * _GROUP * count:
    return top_k(values, count)
  return lax.platform_dependent(
    values,
    cpu=lambda values: top_k(_lowered(values, count), count),
    default=lambda values: top_k(values, count),
  )


def _lowered(values: Float[Array, "Q W"], count: int) -> Float[Array, "Q W"]:
  """Values, with most of those below the `count` largest set to NOTHING.

  `count` groups of columns have a maximum of at least `floor`, so as many
  values have; its leading bits are found one after the other.
  """
  groups = values.reshape(len(values), _GROUP, -1)
  maxima = groups[:, 0]
  for i in range(1, _GROUP):
    maxima = jnp.maximum(maxima, groups[:, i])
  keys = _in_order(maxima)

  def add_bit(i, floor):
    higher = floor + (jnp.int32(1) << (30 - i))
    enough = jnp.sum(keys >= higher[:, None], axis=1) >= count
    return jnp.where(enough, higher, floor)

  lowest = jnp.full(len(values), jnp.iinfo(jnp.int32).min, jnp.int32)
  positive = jnp.sum(keys >= 0, axis=1) >= count
  floor = lax.fori_loop(0, _FLOOR_BITS, add_bit, jnp.where(positive, 0, lowest))
  return jnp.where(_in_order(values) >= floor[:, None], values, NOTHING)


def _in_order(values: Float[Array, "Q W"]) -> Int[Array, "Q W"]:
  """Integers that compare as the floats do."""
  bits = lax.bitcast_convert_type(values, jnp.int32)
  return bits ^ ((bits >> 31) & jnp.int32(0x7FFFFFFF))


def top_k(
  values: Float[Array, "*Q W"], count: int
) -> tuple[Float[Array, "*Q count"], Int[Array, "*Q count"]]:
  """lax.top_k, free to order ties as it likes where JAX lets us say so."""
  try:
    # On GPU the stable form sorts whole rows; the other selects.
    found = lax.top_k(values, count, is_stable=False)
  except TypeError:  # jax < 0.12
    found = lax.top_k(values, count)
  # Both outputs stay whole, each behind a barrier: if one is sliced or unused
  # without, XLA no longer sees a selection, and sorts whole rows.
  best, columns = map(lax.optimization_barrier, found)
  return best, columns
