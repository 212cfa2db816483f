"""Ids of a memory against a plain dict, held as objects and as text."""

import copy
import pickle

import memory_cases as cases
import numpy as np
import pytest

from visual_memory import checks
from visual_memory.memory import layout, row_table
from visual_memory.memory.row_table import RowTable
from visual_memory.parallel import take
from visual_memory.retrieval import exact

_TEXT = np.dtypes.StringDType()
_ODD = ["", "a\0", "a\0b", "é", "日本", "x" * 300, "a", " ", "1", "\U0001f600"]


@pytest.fixture(params=["objects", "text"])
def few(request, monkeypatch):
  """Every path of a large table, in a small one."""
  monkeypatch.setattr(row_table, "_FEW", 5)
  many = 0 if request.param == "text" else 1 << 40
  monkeypatch.setattr(checks, "_MANY_IDS", many)
  return request.param


def _check(table, model):
  """The table says what a dict from ids to turns says."""
  asked = [*model, *_ODD, "absent", "\ud800"]
  turns = np.array([model.get(i, -1) for i in asked])
  slots = np.where(turns < 0, -1, layout.slots_of(turns, table.capacity))
  assert table.find_or_none(asked).tolist() == slots.tolist()
  assert table.num_rows == len(model)
  in_order = sorted(model, key=model.get)
  assert table.ids.tolist() == in_order
  found = table.ids_in(table.slots)
  assert found.dtype == object and found.tolist() == in_order
  assert all(type(i) is str for i in found)
  assert table.positions(table.slots).tolist() == list(range(len(model)))


@pytest.mark.parametrize("seed", range(4))
def test_a_table_is_a_dict(few, seed):
  random = np.random.default_rng(seed)
  first = checks.as_ids([*_ODD, *(f"r{i}" for i in range(20))])
  table = RowTable(first, capacity=256, next_serial=len(first))
  model = {i: turn for turn, i in enumerate(first)}
  _check(table, model)
  gone = []
  for step in range(25):
    before, was = table, dict(model)
    if random.random() < 0.3:
      table = table.copy(to_edit=step % 4 < 2)
      if step % 3:  # The older one is edited first.
        was[f"fork{step}"] = before.next_turn
        before.append(checks.as_ids([f"fork{step}"]))
    if random.random() < 0.5 and len(model) > 3:
      ids = random.permutation(np.array([*model], object))[:3]
      table.forget(table.find(ids))
      gone += [(i, model.pop(i)) for i in ids]
    else:
      back = [gone.pop()[0]] if gone and step % 2 else []
      ids = checks.as_ids([f"new{step}/{n}" for n in range(3)] + back)
      model.update({i: table.next_turn + n for n, i in enumerate(ids)})
      slots, serials = table.upcoming(len(ids))
      table.append(ids)
      assert table.ids_in(slots).tolist() == ids.tolist()
      assert serials[-1] == table.next_serial - 1
    _check(table, model)
    if before is not table:
      _check(before, was)
  with pytest.raises(KeyError, match="not in the memory: 'absent'"):
    table.find(["absent"])


@pytest.mark.parametrize("when", ["first", "later"])
def test_ids_that_are_no_unicode_are_kept(few, when):
  ids = checks.as_ids(["a", "\udcff/b", "c"])
  given = ids if when == "first" else ids[:1]
  table = RowTable(given, capacity=256, next_serial=3)
  table.find_or_none(["a"])
  if when == "later":
    table.append(ids[1:])
  _check(table, {"a": 0, "\udcff/b": 1, "c": 2})


def test_ids_of_equal_hash_are_told_apart(few, monkeypatch):
  monkeypatch.setattr(
    row_table, "hashes", lambda ids: np.zeros(len(ids), np.int64)
  )
  ids = checks.as_ids([f"r{i}" for i in range(9)])
  table = RowTable(ids, capacity=256, next_serial=9)
  table.forget(table.find(["r2", "r3"]))
  _check(table, {f"r{i}": i for i in range(9) if i not in (2, 3)})


def test_a_table_of_text_is_small(monkeypatch):
  count = 5000
  ids = np.array([f"row/{i:010}" for i in range(count)], _TEXT)
  monkeypatch.setattr(checks, "_MANY_IDS", count)
  table = RowTable(ids, capacity=count, next_serial=count)
  table.find(ids[:1])
  assert table.nbytes == row_table.ROW_BYTES * count == 25 * count


def test_repeated_ids_are_found_whatever_their_hashes(monkeypatch):
  for ids in (checks.as_ids(["a", "b", "a"]), np.array(["a", "b", "a"], _TEXT)):
    with pytest.raises(ValueError, match=r"Duplicate id 'a' \(row 2\)"):
      checks.check_unique(ids)
  monkeypatch.setattr(checks, "hashes", lambda ids: np.zeros(len(ids), int))
  checks.check_unique(checks.as_ids(["a", "b", "c"]))
  with pytest.raises(ValueError, match=r"Duplicate id 'b' \(row 3\)"):
    checks.check_unique(checks.as_ids(["a", "b", "c", "b"]))


@pytest.mark.parametrize("shape", [(0,), (7,), (9, 3), (40_000, 130)])
def test_taken_rows_are_those_of_numpy(shape):
  values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
  rows = np.random.default_rng(0).permutation(len(values))
  np.testing.assert_array_equal(take(values, rows), values[rows])


def test_ids_are_looked_up_when_read_and_as_they_were(mesh):
  rows = cases.random_rows(300, 16)
  memory = cases.memory_of(rows, mesh=mesh)
  near = exact.search(rows, memory, k=20)
  assert callable(vars(near)["_ids"])  # Of 6,000 none is looked up yet.
  expected = memory.ids[near.indices]
  gone = list(dict.fromkeys(near.ids[0].tolist()))
  later = exact.search(rows, memory, k=20)
  memory = memory.remove(gone, donate=True)
  memory.add(cases.embedded_rows(rows[:8], first_id=1000), donate=True)
  assert (later.ids == expected).all() and (near.ids == expected).all()
  assert later.ids is later.ids


def test_neighbors_take_their_ids_along_and_no_table():
  rows = cases.random_rows(2000, 16)
  near = exact.search(rows[:50], cases.memory_of(rows), k=100)
  kept = pickle.dumps(near)
  assert len(kept) < 50 * 100 * 30
  assert (pickle.loads(kept).ids == near.ids).all()
  assert (copy.deepcopy(near).first(2).ids == near.ids[:, :2]).all()
