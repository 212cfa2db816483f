"""Rows found for queries, and the order in which they are best."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int

from visual_memory import distributed
from visual_memory.memory.rows import Rows
from visual_memory.types import Array

LAST = jnp.iinfo(jnp.int32).max
"""The serial of what is missing: after all others."""


@typing.no_type_check  # Also rebuilt with specs and fill values as leaves.
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """Rows found for Q queries; missing ones have slot -1 and sort last.

  Attributes:
    similarities: canonical, float32, [Q, M].
    serials: int32 order of insertion, [Q, M].
    slots: int32, in the whole memory, [Q, M].
    labels: int32, [Q, M].
  """

  similarities: Float[Array, "Q M"]
  serials: Int[Array, "Q M"]
  slots: Int[Array, "Q M"]
  labels: Int[Array, "Q M"]


def best(found: Found, k: int) -> Found:
  """The first k in canonical order: similarity down, then serial up."""
  missing = k - found.slots.shape[1]
  if missing > 0:
    found = jax.tree.map(
      lambda x, fill: jnp.pad(x, ((0, 0), (0, missing)), constant_values=fill),
      found,
      _missing(),
    )
  ordered = lax.sort(
    (-found.similarities, found.serials, found.slots, found.labels),
    dimension=1,
    num_keys=2,
  )
  negated, serials, slots, labels = (x[:, :k] for x in ordered)
  return Found(
    similarities=-negated, serials=serials, slots=slots, labels=labels
  )


def look_up(
  similarities: Float[Array, "Q M"],
  local: Int[Array, "Q M"],
  rows: Rows,
  excluded: Int[Array, "Q"],
) -> Found:
  """Rows of this shard as found, empty and excluded ones as missing.

  Args:
    similarities: canonical.
    local: slots within this shard; negative ones are missing.
    rows: the shard.
    excluded: slot that each query must not find (-1: none).
  """
  offset = lax.axis_index(distributed.DATA) * rows.labels.shape[0]
  at = jnp.maximum(local, 0)
  slots = local + offset
  real = is_real(local, rows, excluded)
  values = Found(
    similarities=similarities,
    serials=rows.serials[at],
    slots=slots,
    labels=rows.labels[at],
  )
  return jax.tree.map(
    lambda x, fill: jnp.where(real, x, jnp.asarray(fill, x.dtype)),
    values,
    _missing(),
  )


def is_real(
  local: Int[Array, "Q M"], rows: Rows, excluded: Int[Array, "Q"]
) -> Bool[Array, "Q M"]:
  """Whether each slot of this shard holds a row that may be found."""
  offset = lax.axis_index(distributed.DATA) * rows.labels.shape[0]
  held = rows.mask[jnp.maximum(local, 0)]
  return (local >= 0) & held & (local + offset != excluded[:, None])


def nothing(num_queries: int, k: int) -> Found:
  """Found rows that are all missing: where merging begins."""
  return Found(
    similarities=jnp.full((num_queries, k), -jnp.inf, jnp.float32),
    serials=jnp.full((num_queries, k), LAST, jnp.int32),
    slots=jnp.full((num_queries, k), -1, jnp.int32),
    labels=jnp.full((num_queries, k), -1, jnp.int32),
  )


def _missing() -> Found:
  return Found(similarities=-jnp.inf, serials=LAST, slots=-1, labels=-1)
