"""Device rows for a new memory: how many slots, and what is in them."""

import dataclasses
import functools

import jax
import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.memory import coarse as coarse_lib
from visual_memory.memory import edits, layout
from visual_memory.types import UNLABELED, EmbeddedSet

SPARE = 1 / 32
"""Slots reserved beyond the rows, as a fraction of them."""


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
  coarse = _coarse_copy(rows, precision)
  return dataclasses.replace(rows, coarse=coarse)


@functools.partial(jax.jit, static_argnums=1)
def _coarse_copy(rows: edits.Rows, precision: str) -> coarse_lib.Coarse:
  """The coarse copy of rows."""
  scale = coarse_lib.scale_for(rows.embeddings, precision)
  return coarse_lib.coarsen(rows.embeddings, scale, precision)


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
