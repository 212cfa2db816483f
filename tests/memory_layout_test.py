"""Which slot a row is given, and whether all slots fit on the devices."""

import jax
import memory_cases as cases
import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.memory import layout, room
from visual_memory.memory import rows as rows_lib


@pytest.mark.parametrize("capacity", [1, 2, 256, 512, 2048, 4352, 6144])
def test_turns_and_slots_are_one_to_one(capacity):
  turns = np.arange(capacity)
  slots = layout.slots_of(turns, capacity)
  assert sorted(slots) == list(turns)
  np.testing.assert_array_equal(layout.turns_of(slots, capacity), turns)


@pytest.mark.parametrize("capacity, shards", [(2048, 8), (4608, 2), (10240, 8)])
def test_any_run_of_turns_is_spread_over_the_shards(capacity, shards):
  shard = layout.slots_of(np.arange(capacity), capacity) // (capacity // shards)
  counts = np.cumsum(shard[:, None] == np.arange(shards), axis=0)
  for length in (8, 50, 400, 1000):
    runs = counts[length:] - counts[:-length]
    assert np.abs(runs - length / shards).max() <= 4, length


@pytest.mark.parametrize("capacity", [34_816, 344_064, 1 << 21])
@pytest.mark.parametrize("step", [64, 100, 128, 512, 1000])
def test_rows_at_regular_distances_do_not_crowd_any_lane(capacity, step):
  # Every step-th row, as when classes take turns; lanes as the search's.
  rows = np.arange(0, capacity, step)[:300]
  slots = layout.slots_of(rows, capacity)
  lane = slots // 2048 * 64 + slots % 64
  _, counts = np.unique(lane, return_counts=True)
  assert (counts >= 3).sum() <= 0.04 * len(rows)


def test_what_does_not_fit_is_refused_before_it_is_allocated(monkeypatch):
  monkeypatch.setattr(room, "free_bytes", lambda device: 100_000)
  monkeypatch.setattr(rows_lib, "rows_from_host", None)
  with pytest.raises(MemoryError, match="slots of 16 dimensions .* GB free"):
    cases.memory_of(cases.random_rows(2000, 16), mesh=distributed.make_mesh(1))


def test_room_is_known_or_said_to_be_unknown():
  class Device:
    platform = "gpu"

    def memory_stats(self):
      return self.stats

  device = Device()
  device.stats = {"bytes_limit": 100, "bytes_in_use": 30}
  assert room.free_bytes(device) == 70
  device.stats = None
  assert room.free_bytes(device) is None
  assert room.free_bytes(jax.devices()[0]) > 1e6
  given = cases.random_rows(700, 16)
  for precision in ("float32", "bfloat16", "int8"):
    rows = cases.memory_of(given, precision=precision).rows
    held = sum(x.nbytes for x in jax.tree.leaves(rows) if x.ndim)
    expected = room.row_bytes(len(rows.labels), given.shape[1], precision)
    assert held == expected


@pytest.mark.parametrize("num_rows", [0, 1, 255, 257, 5000, 1_281_167])
@pytest.mark.parametrize("shards", [1, 8, 256])
def test_capacity_holds_the_rows_and_divides(num_rows, shards):
  capacity = layout.capacity_for(num_rows, shards)
  assert capacity >= num_rows and capacity % shards == 0
  per_shard = capacity // shards
  # A large power of two divides a shard, and little is wasted.
  assert per_shard & -per_shard >= max(256, per_shard // 64)
  assert capacity - num_rows <= max(256 * shards, num_rows / 32 + shards)
