"""A memory that was loaded from a store, brought up to date.

It reads nothing but the rows that are new, and looks at no others where the
store knows which chunks have changed.
"""

import dataclasses

import numpy as np

from visual_memory import distributed
from visual_memory.memory.memory import VisualMemory
from visual_memory.store import loading, which_rows
from visual_memory.store.storage import recent_steps
from visual_memory.store.storage.recent_steps import Steps
from visual_memory.store.storage.state import State
from visual_memory.types import EmbeddedSet

_NONE = np.zeros(0, np.int32)


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
    as_of: of the state, likewise.
  """

  removed: np.ndarray
  added: EmbeddedSet
  serials: np.ndarray
  relabelled: np.ndarray
  labels: np.ndarray
  origin: tuple[str, int]
  ridge: float | None
  as_of: tuple[str, int]


def find_change(memory: VisualMemory, state: State) -> Change:
  """Compares a memory with a state by serials, then labels.

  Serials and labels are compared as arrays, whatever is in them; ids, which
  take long, only where the serial does not say already that they are the same.
  Where the state knows which chunks have changed since it and the memory were
  the same, only their rows are looked at.

  Raises:
    ValueError: they do not belong together, or the memory was edited in
      another way than the store.
  """
  _check_same_store(memory, state)
  store_id, generation = memory.table.as_of or ("", -1)
  steps = None
  if store_id == state.manifest.store_id:
    steps = recent_steps.since(
      state.steps, generation, now=state.manifest.generation
    )
  if steps is not None:
    found = _compared(memory, state, steps)
    after = len(memory) - len(found.removed) + len(found.added)
    if after == state.manifest.num_rows:
      return found
  return _compared(memory, state, None)


def _compared(
  memory: VisualMemory, state: State, steps: Steps | None
) -> Change:
  """The change that some steps made; None compares all rows."""
  serials = distributed.gather(memory.rows.serials) if steps != () else _NONE
  occupied = np.flatnonzero(serials >= 0)
  slot_of = np.full(state.manifest.next_serial + 1, -1, np.int32)
  slot_of[serials[occupied]] = occupied
  if steps is None:
    rows, before = state.rows, serials[occupied]
  else:
    rows = state.columns.rows_in(
      sorted(set().union(*(s.chunks for s in steps)))
    )
    before = np.concatenate([_NONE, *(step.gone for step in steps)])
  stored = state.columns.at("serials", rows)
  slots = slot_of[stored]  # Of every one of these rows; -1 where it is new.
  kept = slots >= 0
  _check_same_ids(memory, state, rows[kept], slots[kept])
  slot_of[stored] = -1
  gone = slot_of[np.unique(before)]
  labels = state.columns.at("labels", rows[kept])
  differs = np.zeros(len(labels), bool)
  if len(labels):
    differs = distributed.gather(memory.rows.labels)[slots[kept]] != labels
  return Change(
    removed=np.sort(gone[gone >= 0]),
    added=which_rows.embedded(state, rows[~kept]),
    serials=stored[~kept],
    relabelled=slots[kept][differs],
    labels=labels[differs],
    origin=loading.origin_of(state),
    ridge=loading.ridge_of(state.manifest),
    as_of=loading.generation_of(state),
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
    later = state.columns.at("serials", rows) >= known
    rows, slots = rows[later], slots[later]
  if memory.table.ids_in(slots).tolist() != state.read_ids(rows):
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
  known = memory.table.origin, memory.table.as_of
  if known != (change.origin, change.as_of):
    if not donate:
      memory = dataclasses.replace(memory, table=memory.table.copy())
    memory.table.origin, memory.table.as_of = change.origin, change.as_of
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
    memory = memory.with_rows(
      change.added.take(run),
      donate=donate,
      first_serial=int(change.serials[run[0]]),
    )
    donate = True
  return memory
