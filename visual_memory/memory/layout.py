"""Where rows live: turns, slots, positions, and which id is where.

Rows take turns 0, 1, 2, ... as they come; the turn of a row that is removed is
left unused until a new layout. Turn t goes to slot (t * stride) mod capacity,
with a stride near capacity / golden ratio, so any run of consecutive turns is
spread evenly over all slots: shards stay balanced while a memory fills, and
rows that were added class by class do not crowd one tile of the search. Every
hundredth row, though, might land at regular distances (the classes of a memory
often take turns), so each window of 256 slots is shuffled by a rule of its own.
The map is a bijection, needs no table, and depends on the capacity alone.
"""

import math

import numpy as np

from visual_memory import distributed
from visual_memory.checks import Ids
from visual_memory.memory import matching

_LEAST_GRANULE = 256
_FINENESS = 5
"""A shard's size is rounded up to a multiple of a power of two that is at most
2**-_FINENESS of it: little is wasted, and the search always finds power-of-two
tiles that divide it."""
_GOLDEN = (math.sqrt(5) - 1) / 2
_WINDOW = _LEAST_GRANULE
_HASH = 2654435769  # 2**32 / golden ratio (Knuth's multiplicative hashing).
_INVERSES = np.array([pow(i | 1, -1, _WINDOW) for i in range(_WINDOW)])


def capacity_for(num_rows: int, num_shards: int) -> int:
  """The least legal capacity (in slots) that holds num_rows."""
  per_shard = -(-num_rows // num_shards)
  return distributed.pad_to_multiple(per_shard, granule(per_shard)) * num_shards


def granule(rows_per_shard: int) -> int:
  """The power of two that a shard of about this size is a multiple of."""
  return max(
    _LEAST_GRANULE, 1 << max(0, rows_per_shard.bit_length() - 1 - _FINENESS)
  )


def stride_of(capacity: int) -> int:
  """The stride of a capacity: coprime to it, near capacity / golden ratio."""
  stride = max(1, round(capacity * _GOLDEN))
  while math.gcd(stride, capacity) != 1:
    stride += 1
  return stride


def slots_of(turns: np.ndarray, capacity: int) -> np.ndarray:
  """The slots (int64) of the rows of these turns."""
  spread = turns.astype(np.int64) * stride_of(capacity) % capacity
  if capacity % _WINDOW:
    return spread
  factor, shift = _rule(spread)
  place = _fold(spread % _WINDOW) * factor + shift
  return spread // _WINDOW * _WINDOW + _fold(place % _WINDOW)


def turns_of(slots: np.ndarray, capacity: int) -> np.ndarray:
  """The turns (int64) of the rows in these slots: the inverse of slots_of."""
  if capacity == 1:
    return np.zeros_like(slots, dtype=np.int64)
  spread = slots.astype(np.int64)
  if capacity % _WINDOW == 0:
    factor, shift = _rule(spread)
    place = (_fold(spread % _WINDOW) - shift) * _INVERSES[factor]
    spread = spread // _WINDOW * _WINDOW + _fold(place % _WINDOW)
  return spread * pow(stride_of(capacity), -1, capacity) % capacity


def _rule(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """How the window of each slot is shuffled: an odd factor and a shift."""
  bits = (slots // _WINDOW * _HASH % (1 << 32)) >> 16
  return bits % _WINDOW | 1, bits // _WINDOW


def _fold(places: np.ndarray) -> np.ndarray:
  """High bits mixed into the low ones; its own inverse."""
  return places ^ places // 16


class RowTable:
  """The host's side of a memory: which id is in which slot.

  Attributes:
    ids: object array, the id of every slot (None where empty), [capacity].
    next_turn: of the next inserted row, counted from the last layout.
    next_serial: the serial of the next inserted row; serials are never reused.
    num_rows: live rows.
    origin: the store that the rows with a smaller serial than this came from,
      as (store_id, serial); None for a memory of no store.
    as_of: the store and its generation that all rows are of; None once the
      memory is edited by itself.
  """

  def __init__(  # noqa: D107
    self,
    ids: np.ndarray,
    *,
    next_turn: int,
    next_serial: int,
    num_rows: int,
  ):
    self.ids = ids
    self.next_turn = next_turn
    self.next_serial = next_serial
    self.num_rows = num_rows
    self.origin: tuple[str, int] | None = None
    self.as_of: tuple[str, int] | None = None
    self._slots: dict[str, int] | None = None
    self._ranks: np.ndarray | None = None

  @property
  def capacity(self) -> int:
    """The number of slots."""
    return len(self.ids)

  @property
  def free(self) -> int:
    """Turns left before the rows must be laid out anew."""
    return self.capacity - self.next_turn

  @property
  def slots(self) -> dict[str, int]:
    """The slot of every id (built at first use)."""
    if self._slots is None:
      self._slots = {
        row_id: slot for slot, row_id in enumerate(self.ids)
        if row_id is not None
      }  # fmt: skip
    return self._slots

  def copy(self) -> "RowTable":
    """An independent table with the same content."""
    table = RowTable(
      self.ids.copy(),
      next_turn=self.next_turn,
      next_serial=self.next_serial,
      num_rows=self.num_rows,
    )
    table.origin = self.origin
    table._slots = None if self._slots is None else dict(self._slots)
    table._ranks = self._ranks  # Replaced, never written to.
    return table

  def find(self, ids: Ids) -> np.ndarray:
    """The slots of these ids, int64.

    Raises:
      KeyError: names the ids that are not in the memory.
    """
    return matching.check_found(ids, self.find_or_none(ids), holder="memory")

  def find_or_none(self, ids: Ids) -> np.ndarray:
    """The slots of these ids, int64; -1 where the memory lacks one."""
    slots = self.slots
    return np.array([slots.get(i, -1) for i in ids], dtype=np.int64)

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
      ids = self.ids[slots_of(np.arange(self.next_turn), self.capacity)]
      self._ranks = np.cumsum(ids != None, dtype=np.int32) - 1  # noqa: E711
    return self._ranks[turns]

  def append(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Takes the next turns for new ids; their (slots, serials)."""
    count = len(ids)
    turns = np.arange(self.next_turn, self.next_turn + count)
    slots = slots_of(turns, self.capacity)
    serials = np.arange(self.next_serial, self.next_serial + count)
    self.ids[slots] = ids
    self.as_of = None
    if self._slots is not None:
      self._slots.update(zip(ids, slots.tolist(), strict=True))
    self.next_turn += count
    self.next_serial += count
    self.num_rows += count
    self._ranks = None
    return slots, serials.astype(np.int32)

  def forget(self, slots: np.ndarray) -> None:
    """Empties these slots; their turns stay unused until a new layout."""
    if self._slots is not None:
      for row_id in self.ids[slots]:
        del self._slots[row_id]
    self.ids[slots] = None
    self.as_of = None
    self.num_rows -= len(slots)
    self._ranks = None
