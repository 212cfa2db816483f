"""Device rows for a new memory: how many slots, and what is in them."""

import dataclasses
import functools

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float

from visual_memory import distributed
from visual_memory.memory import coarse as coarse_lib
from visual_memory.memory import edits, layout
from visual_memory.types import UNLABELED, Array, EmbeddedSet

SPARE = 1 / 32
"""Slots reserved beyond the rows, as a fraction of them."""

_COPIED_ROWS = 4096
"""Of a device, copied coarsely at once: a power of two."""


def choose_capacity(num_rows: int, *, capacity: int | None, mesh: Mesh) -> int:
  """The slots of a new memory: what was asked for, or 1/32 more than rows.

  Raises:
    ValueError: a capacity below the number of rows.
  """
  if capacity is None:
    capacity = int(num_rows * (1 + SPARE)) + 1
  if capacity < num_rows:
    raise ValueError(f"capacity {capacity} cannot hold {num_rows} rows.")
  return layout.capacity_for(capacity, mesh.size)


def with_precision(rows: edits.Rows, precision: str) -> edits.Rows:
  """Rows with the coarse copy that a first pass of this precision needs.

  A copy is made from all the rows, and gets a scale of its own.
  """
  if precision == "float32":
    return rows  # Outside of jit, which would copy what it returns as it is.
  coarse = _coarse_copy(
    rows.embeddings, mesh=rows.embeddings.sharding.mesh, precision=precision
  )
  return dataclasses.replace(rows, coarse=coarse)


@functools.partial(jax.jit, static_argnames=("mesh", "precision"))
def _coarse_copy(
  embeddings: Float[Array, "N D"], *, mesh: Mesh, precision: str
) -> coarse_lib.Coarse:
  """The coarse copy of rows, without temporaries of their size."""
  scale = coarse_lib.scale_for(embeddings, precision)

  def shard(own, scale):
    def copy(block):
      made = coarse_lib.coarsen(block, scale, precision)
      return made.values, made.residuals

    # In one piece, the scale would be held once for every entry (XLA on CPU).
    size = min(_COPIED_ROWS, len(own) & -len(own))
    values, residuals = lax.map(copy, own.reshape(-1, size, own.shape[1]))
    return values.reshape(own.shape), residuals.reshape(-1)

  split = PartitionSpec(distributed.DATA)
  values, residuals = jax.shard_map(
    shard,
    mesh=mesh,
    in_specs=(split, PartitionSpec()),
    out_specs=split,
  )(embeddings, scale)
  return coarse_lib.Coarse(values=values, scale=scale, residuals=residuals)


def rows_from_host(
  embedded: EmbeddedSet, capacity: int, mesh: Mesh
) -> edits.Rows:
  """Device rows of an EmbeddedSet; each device's part is built on its own."""
  count = len(embedded)

  def shard(values: np.ndarray, default: int, dtype) -> jax.Array:
    def local(index):
      slots = np.arange(*index[0].indices(capacity))
      positions = layout.positions_of(slots, capacity)
      found = positions < count
      part = np.full((len(slots),) + values.shape[1:], default, dtype)
      part[found] = values[positions[found]]
      return part

    return jax.make_array_from_callback(
      (capacity,) + values.shape[1:], distributed.row_sharding(mesh), local
    )

  return edits.Rows(
    embeddings=shard(embedded.embeddings, 0, np.float32),
    labels=shard(embedded.labels, UNLABELED, np.int32),
    serials=shard(np.arange(count), edits.EMPTY, np.int32),
  )
