"""Where rows live: turns and slots.

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

_LEAST_GRANULE = 256
_FINENESS = 5
"""A shard's size is rounded up to a multiple of a power of two that is at most
2**-_FINENESS of it: little is wasted, and the search always finds power-of-two
tiles that divide it."""
_GOLDEN = (math.sqrt(5) - 1) / 2
_WINDOW = _LEAST_GRANULE
_LAST = _WINDOW - 1
"""Of a window: also what a slot's place in it is masked by, as division takes
several times as long."""
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
  place = _fold(spread & _LAST) * factor + shift
  return (spread & ~_LAST) + _fold(place & _LAST)


def turns_of(slots: np.ndarray, capacity: int) -> np.ndarray:
  """The turns (int64) of the rows in these slots: the inverse of slots_of."""
  if capacity == 1:
    return np.zeros_like(slots, dtype=np.int64)
  spread = slots.astype(np.int64)
  if capacity % _WINDOW == 0:
    factor, shift = _rule(spread)
    place = (_fold(spread & _LAST) - shift) * _INVERSES[factor]
    spread = (spread & ~_LAST) + _fold(place & _LAST)
  return spread * pow(stride_of(capacity), -1, capacity) % capacity


def _rule(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """How the window of each slot is shuffled: an odd factor and a shift."""
  bits = (slots // _WINDOW * _HASH & 0xFFFFFFFF) >> 16
  return bits & _LAST | 1, bits // _WINDOW


def _fold(places: np.ndarray) -> np.ndarray:
  """High bits mixed into the low ones; its own inverse."""
  return places ^ places >> 4
