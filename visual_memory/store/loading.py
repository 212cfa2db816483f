"""From a store's rows to the rows of a memory on devices.

A load keeps, in each process, only the rows of that process's devices. It reads
the chunks of embeddings in order, checks every row, and puts it straight where
the memory's layout wants it. A refresh reads nothing but the rows that are new.
"""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed, subnormals
from visual_memory.memory import layout, room, whitening
from visual_memory.memory import rows as rows_lib
from visual_memory.memory.memory import VisualMemory
from visual_memory.store import which_rows
from visual_memory.store.errors import StoreDamaged, StoreError
from visual_memory.store.storage import parallel
from visual_memory.store.storage.manifest import Manifest
from visual_memory.store.storage.overwrites import by_chunk
from visual_memory.store.storage.state import State
from visual_memory.types import UNLABELED, EmbeddedSet

WHITENING = "whitening"
"""Names the ridge in a store's description."""

_ALIGNMENT = 64
"""What the CPU's devices want of a host buffer to take it as it is."""


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
  room.check_rows(
    capacity, state.manifest.dim, precision, mesh, whitened=ridge is not None
  )
  slots = layout.slots_of(np.arange(count), capacity)
  parts = _Parts(capacity, state.manifest.dim, mesh)
  filling = _start_filling(parts, state, rows, slots)
  labels = np.full(capacity, UNLABELED, np.int32)
  labels[slots] = state.columns["labels"][rows]
  serials = np.full(capacity, rows_lib.EMPTY, np.int32)
  serials[slots] = state.columns["serials"][rows]
  ids = np.full(capacity, None, dtype=object)
  ids[slots] = state.ids[rows]  # Decoded while the embeddings are read.
  if bad := [slot for slots in filling for slot in slots.tolist()]:
    raise StoreDamaged([state.describe(slot) for slot in bad])
  device_rows = rows_lib.Rows(
    embeddings=parts.on_devices(),
    labels=distributed.shard_rows(labels, mesh),
    serials=distributed.shard_rows(serials, mesh),
  )
  table = layout.RowTable(
    ids,
    next_turn=count,
    next_serial=state.manifest.next_serial,
    num_rows=count,
  )
  table.origin = _origin(state)
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


def _origin(state: State) -> tuple[str, int]:
  """What tells the rows of a state from those of other stores."""
  return state.manifest.store_id, state.manifest.next_serial


class _Parts:
  """Host buffers for the shards of this process's devices."""

  def __init__(self, capacity: int, dim: int, mesh: Mesh):
    self._shape = (capacity, dim)
    self._sharding = distributed.row_sharding(mesh)
    indices = self._sharding.addressable_devices_indices_map(self._shape)
    bounds = {index[0].indices(capacity)[:2] for index in indices.values()}
    self.buffers = {
      (first, last): _aligned_zeros(last - first, dim)
      for first, last in sorted(bounds)
    }

  def on_devices(self) -> jax.Array:
    """The buffers as one row-sharded array."""
    return jax.make_array_from_callback(
      self._shape,
      self._sharding,
      lambda index: self.buffers[index[0].indices(self._shape[0])[:2]],
    )


def _aligned_zeros(rows: int, dim: int) -> np.ndarray:
  """Zeros, float32 [rows, dim], that a CPU device can use without a copy."""
  raw = np.zeros(4 * rows * dim + _ALIGNMENT, np.uint8)
  start = -raw.ctypes.data % _ALIGNMENT
  return raw[start : start + 4 * rows * dim].view(np.float32).reshape(rows, dim)


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
    for (first, last), buffer in parts.buffers.items():
      here = (slots[part] >= first) & (slots[part] < last)
      if here.all():
        buffer[slots[part] - first] = found
      else:
        buffer[slots[part][here] - first] = found[here]
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
  """What a state has that a memory has not, and the reverse.

  Attributes:
    removed: slots of the memory's rows that are not in the store.
    added: rows of the store that are not in the memory, in serial order.
    serials: theirs.
    relabelled: slots of the memory's rows with another label in the store.
    labels: their labels there.
    origin: of the state.
    ridge: by which the rows are whitened now, or None.
  """

  removed: np.ndarray
  added: EmbeddedSet
  serials: np.ndarray
  relabelled: np.ndarray
  labels: np.ndarray
  origin: tuple[str, int]
  ridge: float | None


def find_change(memory: VisualMemory, state: State) -> Change:
  """Compares a memory with a state by serials, then labels.

  Serials and labels are compared as arrays, whatever is in them. Ids, which
  take long, only where the serial does not say already that they are the same.

  Raises:
    ValueError: they do not belong together, or the memory was edited in
      another way than the store.
  """
  _check_same_store(memory, state)
  serials = distributed.gather(memory.rows.serials)
  occupied = np.flatnonzero(serials >= 0)
  slot_of = np.full(state.manifest.next_serial + 1, -1, np.int64)
  slot_of[serials[occupied]] = occupied
  rows = state.rows
  stored = state.columns["serials"][rows]
  slots = slot_of[stored]  # Of every row of the store; -1 where it is new.
  kept = slots >= 0
  _check_same_ids(memory, state, rows[kept], slots[kept])
  slot_of[stored] = -1
  gone = slot_of[serials[occupied]] >= 0
  labels = state.columns["labels"][rows[kept]]
  differs = distributed.gather(memory.rows.labels)[slots[kept]] != labels
  return Change(
    removed=occupied[gone],
    added=which_rows.embedded(state, rows[~kept]),
    serials=stored[~kept],
    relabelled=slots[kept][differs],
    labels=labels[differs],
    origin=_origin(state),
    ridge=ridge_of(state.manifest),
  )


def _check_same_ids(
  memory: VisualMemory, state: State, rows: np.ndarray, slots: np.ndarray
) -> None:
  """Raises ValueError if rows of equal serial have other ids.

  A serial is given out once: those from before the memory was loaded from this
  store, or refreshed, cannot be another row's.
  """
  store_id, known = memory.table.origin or ("", 0)
  if store_id == state.manifest.store_id:
    later = state.columns["serials"][rows] >= known
    rows, slots = rows[later], slots[later]
  if memory.table.ids[slots].tolist() != state.read_ids(rows):
    raise ValueError(
      "The memory has rows that the store never had: it was edited by itself."
      " Load it again, and make every edit in the store."
    )


def refresh(
  memory: VisualMemory, change: Change, *, donate: bool
) -> VisualMemory:
  """A memory brought up to the state that a change was found in.

  Nothing is read: a donated memory is used up only by what cannot fail.
  """
  class_names = change.added.class_names
  memory = dataclasses.replace(memory, class_names=class_names)
  if change.ridge != (memory.whitening and memory.whitening.ridge):
    memory = memory.whitened(change.ridge)
    donate = False
  if len(change.relabelled):  # While the slots are those of the change.
    memory = memory.with_labels(
      change.relabelled, class_names, change.labels, donate=donate
    )
    donate = True  # Its buffers are new ones, not those of the memory given.
  if len(change.removed):
    memory = memory.without_slots(change.removed, donate=donate)
    donate = True
  if len(change.added):
    memory = _add(memory, change, donate=donate)
    donate = True
  if memory.table.origin != change.origin:
    if not donate:
      memory = dataclasses.replace(memory, table=memory.table.copy())
    memory.table.origin = change.origin
  return memory


def _check_same_store(memory: VisualMemory, state: State) -> None:
  """Raises ValueError if the memory cannot come from this store."""
  of = state.manifest
  if memory.fingerprint != of.fingerprint or memory.dim != of.dim:
    raise ValueError(
      f"The memory has encoder {memory.fingerprint!r} and dimension"
      f" {memory.dim}, the store {of.fingerprint!r} and {of.dim}: they do not"
      " belong together."
    )
  if memory.table.next_serial > of.next_serial:
    raise ValueError(
      "The memory has rows that the store never had: it was edited by itself,"
      " or comes from another store. Load it again."
    )


def _add(memory: VisualMemory, change: Change, *, donate: bool) -> VisualMemory:
  """A memory with the added rows.

  The memory numbers what it adds consecutively, so every run of consecutive
  serials is one addition.
  """
  cuts = np.flatnonzero(np.diff(change.serials) != 1) + 1
  for run in np.split(np.arange(len(change.serials)), cuts):
    table = memory.table if donate else memory.table.copy()
    table.next_serial = int(change.serials[run[0]])
    memory = dataclasses.replace(memory, table=table)
    memory = memory.with_rows(change.added.take(run), donate=donate)
    donate = True
  return memory
