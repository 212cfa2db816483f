"""From a store's rows to the rows of a memory on devices.

A load keeps, in each process, only the rows of that process's devices. It reads
the chunks of embeddings in order, checks every row, and puts it straight where
the memory's layout wants it.
"""

from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed, parallel, subnormals
from visual_memory.memory import buffers, layout, whitening
from visual_memory.memory import rows as rows_lib
from visual_memory.memory.memory import VisualMemory
from visual_memory.memory.precision import choose
from visual_memory.memory.row_table import RowTable
from visual_memory.store.errors import StoreDamaged, StoreError
from visual_memory.store.storage import texts
from visual_memory.store.storage.manifest import Manifest
from visual_memory.store.storage.overwrites import by_chunk
from visual_memory.store.storage.state import State
from visual_memory.types import UNLABELED

WHITENING = "whitening"
"""Names the ridge in a store's description."""


def load(
  state: State,
  *,
  mesh: Mesh | None,
  capacity: int | None,
  precision: str,
  skip_damaged: bool,
) -> VisualMemory:
  """All rows of a state as a memory; see Store.load."""
  mesh = distributed.make_mesh() if mesh is None else mesh
  rows = state.rows
  if skip_damaged:
    rows = rows[~_damaged(state, rows)]
  count = len(rows)
  capacity = rows_lib.choose_capacity(count, capacity=capacity, mesh=mesh)
  ridge = ridge_of(state.manifest)
  precision = choose(
    precision,
    capacity=capacity,
    dim=state.manifest.dim,
    mesh=mesh,
    whitened=ridge is not None,
  )
  state.columns.hold()  # Before the threads begin.
  slots = layout.slots_of(np.arange(count), capacity)
  parts = _Parts(capacity, state.manifest.dim, mesh)
  filling = _start_filling(parts, state, rows, slots)
  run = texts.run_of(rows)
  labels = state.columns["labels"][run]
  serials = state.columns["serials"][run]
  ids = state.ids[run]  # Decoded while the embeddings are read.
  if bad := [slot for slots in filling for slot in slots.tolist()]:
    raise StoreDamaged([state.describe(slot) for slot in bad])
  device_rows = rows_lib.Rows(
    embeddings=parts.on_devices(),
    labels=rows_lib.laid_out(labels, UNLABELED, np.int32, capacity, mesh),
    serials=rows_lib.laid_out(
      serials, rows_lib.EMPTY, np.int32, capacity, mesh
    ),
  )
  table = RowTable(
    ids, capacity=capacity, next_serial=state.manifest.next_serial
  )
  table.origin, table.as_of = origin_of(state), generation_of(state)
  made = VisualMemory(
    rows=device_rows,
    table=table,
    class_names=state.manifest.class_names,
    fingerprint=state.manifest.fingerprint,
    mesh=mesh,
  )
  return made.prepared(precision, ridge)


def ridge_of(manifest: Manifest) -> float | None:
  """By which ridge a store's rows are whitened; None if they are not.

  Raises:
    StoreError: its description says something else.
  """
  ridge = manifest.attributes.get(WHITENING)
  try:
    return None if ridge is None else whitening.check_ridge(ridge)
  except ValueError as error:
    raise StoreError(f"The store's description is wrong: {error}") from error


def origin_of(state: State) -> tuple[str, int]:
  """What tells the rows of a state from those of other stores."""
  return state.manifest.store_id, state.manifest.next_serial


def generation_of(state: State) -> tuple[str, int]:
  """Which generation of which store a memory's rows are."""
  return state.manifest.store_id, state.manifest.generation


class _Parts:
  """Memory for the shards of this process's devices.

  Attributes:
    shards: the buffer of each range of slots, as (first, last).
  """

  def __init__(self, capacity: int, dim: int, mesh: Mesh):
    self._shape = (capacity, dim)
    self._sharding = distributed.row_sharding(mesh)
    indices = self._sharding.addressable_devices_indices_map(self._shape)
    self.shards = {}
    for device, index in indices.items():
      first, last, _ = index[0].indices(capacity)
      self.shards[first, last] = buffers.Buffer(
        (last - first, dim), np.float32, device
      )

  def on_devices(self) -> jax.Array:
    """The shards as one row-sharded array."""
    return jax.make_array_from_single_device_arrays(
      self._shape,
      self._sharding,
      [buffer.on_device() for buffer in self.shards.values()],
    )


def _start_filling(
  parts: _Parts, state: State, rows: np.ndarray, slots: np.ndarray
) -> Iterator[np.ndarray]:
  """Starts reading rows of a store into the slots that this process keeps.

  Returns:
    An iterator that waits for the chunks; it yields their damaged rows.
  """
  order = np.argsort(rows, kind="stable")
  ordered = rows[order]

  def read(chunk_range: tuple[int, slice]) -> np.ndarray:
    part = order[chunk_range[1]]
    found, bad = state.chunk_rows(rows[part])
    found = subnormals.flushed(found)  # Of a store that others wrote.
    for (first, last), buffer in parts.shards.items():
      here = (slots[part] >= first) & (slots[part] < last)
      if here.all():
        buffer.rows[slots[part] - first] = found
      else:
        buffer.rows[slots[part][here] - first] = found[here]
    return bad

  groups = by_chunk(ordered, state.manifest.rows_per_chunk)
  return parallel.started(read, groups)


def _damaged(state: State, rows: np.ndarray) -> np.ndarray:
  """Which rows have embeddings that are not what was written."""
  bad = [
    state.chunk_rows(rows[part])[1]
    for _, part in by_chunk(np.sort(rows), state.manifest.rows_per_chunk)
  ]
  return np.isin(rows, sum((slots.tolist() for slots in bad), []))
