"""The host's side of a memory: who is in which row.

Ids stand in the order of their turns. They are found by hash: a sorted array
of eight bytes a row, and a dict of the few that came since it was made. A
large memory's ids are one array of text, not an object each.
"""

from collections.abc import Callable, Iterator

import numpy as np

from visual_memory import parallel
from visual_memory.checks import Ids, empty_ids, hashes, is_compact
from visual_memory.memory import matching
from visual_memory.memory.layout import slots_of, turns_of

_FEW = 1 << 16
"""Ids that are found by a dict before the sorted array is made anew."""
_FEW_ASKED = 1 << 12
"""Ids that are looked up at once, whether or not they are read."""
ROW_BYTES = 16 + 1 + 8
"""Of a row in a large table: an id (of 15 bytes at most), a mark, a key."""
_TURN = np.uint64(0xFFFFFFFF)
"""The half of a key that is a turn; the other is half of the id's hash."""


class RowTable:
  """Which id is in which slot, and what is free.

  Attributes:
    capacity: slots.
    next_turn: of the next inserted row, counted from the last layout.
    next_serial: the serial of the next inserted row; serials are never reused.
    num_rows: live rows.
    origin: the store that the rows with a smaller serial than this came from,
      as (store_id, serial); None for a memory of no store.
    as_of: the store and its generation that all rows are of; None once the
      memory is edited by itself.
  """

  def __init__(self, ids: np.ndarray, *, capacity: int, next_serial: int):
    """The table of a new layout.

    Args:
      ids: of the rows, in order of insertion: they take the first turns.
      capacity: slots.
      next_serial: see the attribute.
    """
    self.capacity = capacity
    self.next_turn = self.num_rows = len(ids)
    self.next_serial = next_serial
    self.origin: tuple[str, int] | None = None
    self.as_of: tuple[str, int] | None = None
    self._ids = _column(ids, capacity)
    self._held = np.arange(capacity) < len(ids)
    self._shared = False  # Arrays that another table has too.
    self._copies: Iterator | None = None  # Of them, being made.
    self._keys: np.ndarray | None = None
    self._later: dict[str, int] = {}
    self._ranks: np.ndarray | None = None

  @property
  def nbytes(self) -> int:
    """Bytes of its arrays, without the text of long ids."""
    arrays = self._ids, self._held, self._keys, self._ranks
    return sum(array.nbytes for array in arrays if array is not None)

  @property
  def free(self) -> int:
    """Turns left before the rows must be laid out anew."""
    return self.capacity - self.next_turn

  @property
  def turns(self) -> np.ndarray:
    """The turns of all rows, in order of insertion, int64."""
    return np.flatnonzero(self._held)

  @property
  def slots(self) -> np.ndarray:
    """The slots of all rows, in order of insertion, int64."""
    return slots_of(self.turns, self.capacity)

  @property
  def ids(self) -> np.ndarray:
    """The ids of all rows, in order of insertion (text or objects)."""
    if self.num_rows == self.next_turn:
      return self._ids[: self.num_rows].copy()
    return self._ids[self.turns]

  def ids_in(self, slots: np.ndarray) -> np.ndarray:
    """The ids of the rows in these slots, an object array of any shape."""
    return self._ids[turns_of(slots, self.capacity)].astype(object, copy=False)

  def ids_later(self, slots: np.ndarray) -> Callable[[], np.ndarray]:
    """What `ids_in` returns now, looked up when it is called.

    What it is looked up in stays as it is: the next edit writes to copies, as
    it would have taken longer to look them all up. Few are looked up at once.
    """
    if slots.size < _FEW_ASKED:
      found = self.ids_in(slots)
      return lambda: found
    self._shared = True
    ids, capacity = self._ids, self.capacity
    return lambda: ids[turns_of(slots, capacity)].astype(object, copy=False)

  def copy(self, *, to_edit: bool = False) -> "RowTable":
    """An independent table with the same content.

    Args:
      to_edit: of a large table, what an edit writes to is copied from now on,
        beside whatever else is done until that edit.
    """
    self._shared = True  # Until either of them changes something.
    table = RowTable.__new__(RowTable)
    table.__dict__.update(self.__dict__)
    table._later = dict(self._later)
    table._copies = None
    if to_edit and self.capacity > _FEW:
      shared = self._ids, self._held
      table._copies = parallel.started(np.copy, shared, background=True)
    return table

  def find(self, ids: Ids) -> np.ndarray:
    """The slots of these ids, int64.

    Raises:
      KeyError: names the ids that are not in the memory.
    """
    return matching.check_found(ids, self.find_or_none(ids), holder="memory")

  def find_or_none(self, ids: Ids) -> np.ndarray:
    """The slots of these ids, int64; -1 where the memory lacks one."""
    turns = self._find(ids)
    if not len(self._later):
      later = turns
    else:
      later = np.fromiter(
        (self._later.get(i, -1) for i in ids), np.int64, len(ids)
      )
    turns = np.maximum(turns, later)
    return np.where(turns < 0, -1, slots_of(turns, self.capacity))

  def positions(self, slots: np.ndarray) -> np.ndarray:
    """The positions of the rows in these slots, int32, of any shape.

    A row's position is its place among the rows that are there, in order of
    insertion: 0 to num_rows - 1. Every slot must hold a row. What it takes to
    tell is made once after an edit, and nothing where no row was removed.
    """
    turns = turns_of(slots, self.capacity)
    if self.num_rows == self.next_turn:
      return turns.astype(np.int32)
    if self._ranks is None:
      self._ranks = np.cumsum(self._held, dtype=np.int32) - np.int32(1)
    return self._ranks[turns]

  def upcoming(self, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The (slots, serials) that the next ids will have."""
    turns = np.arange(self.next_turn, self.next_turn + count)
    serials = np.arange(self.next_serial, self.next_serial + count)
    return slots_of(turns, self.capacity), serials.astype(np.int32)

  def append(self, ids: np.ndarray) -> None:
    """Takes the next turns for new ids."""
    self._own()
    count = len(ids)
    turns = np.arange(self.next_turn, self.next_turn + count)
    try:
      self._ids[turns] = ids
    except UnicodeEncodeError:
      self._ids = self._ids.astype(object)
      self._ids[turns] = ids
    self._held[turns] = True
    if self._keys is not None:
      self._later.update(zip(ids, turns.tolist(), strict=True))
    self.next_turn += count
    self.next_serial += count
    self.num_rows += count
    self._changed()

  def forget(self, slots: np.ndarray) -> None:
    """Empties these slots; their turns stay unused until a new layout."""
    self._own()
    turns = turns_of(slots, self.capacity)
    if self._later:
      for row_id in self._ids[turns]:
        self._later.pop(row_id, None)
    self._ids[turns] = ""
    self._held[turns] = False
    self.num_rows -= len(slots)
    self._changed()

  def _own(self) -> None:
    """Makes arrays that are shared its own, to be written to."""
    if self._shared:
      copies = self._copies or map(np.copy, (self._ids, self._held))
      self._ids, self._held = copies
      self._shared, self._copies = False, None

  def _changed(self) -> None:
    """Forgets what was true of the rows before."""
    self.as_of = self._ranks = None
    if len(self._later) > max(_FEW, self.num_rows >> 4):
      self._keys, self._later = None, {}

  def _find(self, ids: Ids) -> np.ndarray:
    """The turns of ids that the sorted array knows, else -1."""
    if self._keys is None:
      turns = self.turns
      self._keys = _halves(self._ids[: self.next_turn])[turns]
      self._keys |= turns.astype(np.uint64)
      self._keys.sort()
    found = np.full(len(ids), -1, np.int64)
    if not len(self._keys):
      return found
    wanted = _halves(ids)
    near = np.searchsorted(self._keys, wanted)
    left = np.arange(len(ids))  # What may still be found, further on.
    ids = ids if is_compact(ids) else np.asarray(ids, object)
    while True:
      left = left[near[left] < len(self._keys)]
      keys = self._keys[near[left]]
      same = (keys & ~_TURN) == wanted[left]
      left, turns = left[same], (keys[same] & _TURN).astype(np.int64)
      if not len(left):
        return found
      right = self._held[turns] & _equal(self._ids[turns], ids[left])
      found[left[right]] = turns[right]
      left = left[~right]
      near[left] += 1


def _column(ids: np.ndarray, capacity: int) -> np.ndarray:
  """Ids with room for more."""
  column = empty_ids(capacity)
  try:
    column[: len(ids)] = ids
  except UnicodeEncodeError:  # Python's own text holds more.
    column = column.astype(object)
    column[: len(ids)] = ids
  return column


def _halves(ids: Ids) -> np.ndarray:
  """The upper half of each id's hash, where keys have it, uint64."""
  return hashes(ids).view(np.uint64) & ~_TURN


def _equal(some: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Where ids are the same, whichever way they are held."""
  if some.dtype != others.dtype:
    some, others = some.astype(object), others.astype(object)
  return some == others
