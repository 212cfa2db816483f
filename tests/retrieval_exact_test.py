"""The public search: the true top k, whatever the rows, devices and tiles."""

import dataclasses
import itertools

import jax
import memory_cases as cases
import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.memory import layout, room
from visual_memory.memory.coarse import PRECISIONS
from visual_memory.retrieval import exact, first_pass, tiling

# By compiled code: retrieval_native_test.py.
pytestmark = pytest.mark.usefixtures("by_xla")
SLOW = pytest.mark.slow

NUM_ROWS, DIM = 420, 16  # Divides neither over 8 devices nor over a tile.
BASE = cases.random_rows(NUM_ROWS, DIM)


def shuffled(rows):
  return rows[np.random.default_rng(1).permutation(len(rows))]


def clusters(noise):
  """Rows class by class, close to their class's center."""
  centers = np.repeat(BASE[:7], NUM_ROWS // 7, axis=0)
  return cases.unit(centers + noise * np.roll(BASE, 1, axis=0))


ROWS = {
  "random": BASE,
  "duplicates": shuffled(np.tile(BASE[:105], (4, 1))),
  "one row over and over": np.tile(BASE[:1], (NUM_ROWS, 1)),
  "sorted by class": clusters(0.2),
  "nearly equal": clusters(1e-6),
  "zeros and others": BASE * (np.arange(NUM_ROWS)[:, None] % 3 == 0),
  "all zero": np.zeros_like(BASE),
  "right angles": np.eye(DIM, dtype=np.float32)[np.arange(NUM_ROWS) % DIM],
  "one side": cases.unit(np.abs(BASE)),
}


def queries_for(rows):
  """Queries that lie well and badly to these rows, of many lengths, [26, D]."""
  near = cases.random_rows(8, DIM, seed=2)
  queries = np.concatenate(
    [
      near,
      rows[10:14],
      -rows[20:24],  # All rows of "one side" are at negative similarity.
      250 * near[:2],
      1e-3 * near[2:4],
      1e-25 * near[4:5],
      1e30 * near[5:6],
      np.zeros((1, DIM)),
      np.eye(DIM)[:3],
    ]
  )
  return queries.astype(np.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ROWS)
def test_finds_the_true_neighbors(name, precision, mesh):
  rows = ROWS[name]
  queries = queries_for(rows)
  memory = cases.memory_of(rows, mesh=mesh, precision=precision)
  near = exact.search(queries, memory, k=10)
  cases.assert_exact(near, queries, rows, k=10)
  assert near.num_redone <= len(queries)


# Each is a program of its own: the others are left to the slow tests.
K_CASES = [
  (1, 8, "int8"), (100, 1, "int8"), (100, 8, "float32"),
  (NUM_ROWS, 1, "float32"), (NUM_ROWS, 8, "int8"),
]  # fmt: skip


@pytest.mark.parametrize(
  ("k", "devices", "precision"),
  [
    pytest.param(*case, marks=[SLOW] * (case not in K_CASES))
    for case in itertools.product(
      (1, 100, NUM_ROWS), (1, 8), ("float32", "int8")
    )
  ],
)
def test_any_k(k, devices, precision):
  mesh = distributed.make_mesh(devices)
  # A shard of eight holds 53 rows: fewer than k.
  for rows in (ROWS["duplicates"], ROWS["right angles"]):
    memory = cases.memory_of(rows, mesh=mesh, precision=precision)
    queries = queries_for(rows)[:20:3]
    cases.assert_exact(exact.search(queries, memory, k=k), queries, rows, k=k)


@pytest.mark.parametrize("count", [1, 2])
def test_memories_of_one_and_two_rows(count, mesh):
  rows = BASE[:count]
  memory = cases.memory_of(rows, mesh=mesh)
  queries = np.concatenate([BASE[:4], -BASE[:4]])
  for k in range(1, count + 1):
    near = exact.search(queries, memory, k=k)
    cases.assert_exact(near, queries, rows, k=k)


def test_empty_slots_are_never_found(mesh):
  rows = cases.unit(np.abs(BASE[:30]))
  memory = cases.memory_of(rows[:10], mesh=mesh, capacity=NUM_ROWS)
  near = exact.search(-rows, memory, k=10)
  assert (near.similarities < 0).all()
  for found in near.ids:
    assert sorted(found) == sorted(memory.embedded().ids)


def test_leaves_each_query_out_of_its_own_neighbors(mesh):
  rows = ROWS["duplicates"]
  memory = cases.memory_of(rows, mesh=mesh)
  ids = memory.embedded().ids
  near = exact.search(rows[:24], memory, k=9, exclude_self=ids[:24])
  for query in range(24):
    others = np.delete(np.arange(NUM_ROWS), query)
    order = others[np.argsort(-(rows[others] @ rows[query]), kind="stable")]
    assert query not in [int(row_id[1:]) for row_id in near.ids[query]]
    # Three exact copies remain, in order of insertion.
    np.testing.assert_array_equal(
      near.ids[query, :3], [f"r{i}" for i in order[:3]]
    )
  # The rest is what the search without exclusion finds.
  full = exact.search(rows[:24], memory, k=10)
  for query in range(24):
    kept = full.ids[query][full.ids[query] != ids[query]]
    np.testing.assert_array_equal(near.ids[query], kept[:9])


def test_ids_that_the_memory_lacks_exclude_nothing(mesh):
  memory = cases.memory_of(BASE, mesh=mesh)
  strangers = [f"elsewhere {i}" for i in range(24)]
  near = exact.search(BASE[:24], memory, k=10, exclude_self=strangers)
  cases.assert_exact(near, BASE[:24], BASE, k=10)
  with pytest.raises(ValueError, match="k = 420, but .* 419 rows"):
    exact.search(BASE[:1], memory, k=NUM_ROWS, exclude_self=["r5"])


@pytest.mark.parametrize(
  "devices, query_tile, row_tile, super_rows",
  [
    (1, 24, 64, 64),
    (8, 7, 128, 1 << 20),
    (8, 5, 2, 32),
    (1, 1000, 1 << 20, 1 << 20),
    pytest.param(8, 24, 64, 64, marks=SLOW),
    pytest.param(1, 7, 128, 1 << 20, marks=SLOW),
    pytest.param(1, 5, 2, 32, marks=SLOW),
    pytest.param(8, 1000, 1 << 20, 1 << 20, marks=SLOW),
  ],
)
def test_tiles_change_no_bit(
  devices, query_tile, row_tile, super_rows, monkeypatch
):
  mesh = distributed.make_mesh(devices)
  rows = ROWS["duplicates"]
  queries = cases.random_rows(24, DIM, seed=3)
  memory = cases.memory_of(rows, mesh=mesh)
  expected = exact.search(queries, memory, k=10)
  for backend in ("cpu", "gpu", "tpu"):
    monkeypatch.setitem(tiling._SUPER_TILE_ROWS, backend, super_rows)
  near = exact.tiled_search(
    queries, memory, k=10, query_tile=query_tile, row_tile=row_tile
  )
  cases.assert_same(near, expected)
  np.testing.assert_array_equal(near.indices, expected.indices)


def test_a_search_of_no_queries_finds_nothing(mesh):
  memory = cases.memory_of(BASE, mesh=mesh)
  near = exact.search(np.zeros((0, DIM), np.float32), memory, k=10)
  assert near.ids.shape == near.similarities.shape == (0, 10)


def test_queries_may_be_on_the_devices(mesh):
  memory = cases.memory_of(BASE, mesh=mesh)
  queries = distributed.shard_rows(cases.random_rows(24, DIM, seed=2), mesh)
  near = exact.search(queries, memory, k=10)
  cases.assert_exact(near, np.asarray(queries), BASE, k=10)


def test_one_compilation_for_any_number_of_batches_and_after_edits(mesh):
  memory = cases.memory_of(BASE, mesh=mesh)
  queries = cases.random_rows(600, DIM, seed=4)  # Two tiles of 512.
  exact.search(queries, memory, k=5)
  edited = memory.remove(["r3"]).add(
    cases.embedded_rows(BASE[3:4], first_id=1000)
  )
  with cases.counted_compilations() as compilations:
    exact.search(queries[::-1], memory, k=5)
    exact.search(np.tile(queries, (3, 1))[:1500], memory, k=5)
    near = exact.search(queries, edited, k=5)
  assert not compilations
  assert "r3" not in near.ids and "r1000" in near.ids


def test_near_sizes_of_k_share_a_program_and_change_no_answer(mesh):
  memory = cases.memory_of(BASE, mesh=mesh)
  queries = cases.random_rows(5, DIM, seed=5)
  whole = exact.search(queries, memory, k=10)
  with cases.counted_compilations() as compilations:
    for k in (6, 7, 9):
      near = exact.search(queries, memory, k=k)
      np.testing.assert_array_equal(near.ids, whole.ids[:, :k])
      np.testing.assert_array_equal(
        near.similarities, whole.similarities[:, :k]
      )
  assert not compilations
  assert exact.search(queries, memory, k=420).ids.shape == (5, 420)  # All.


def test_easy_queries_are_certified_in_the_first_pass(mesh):
  for precision in PRECISIONS:
    memory = cases.memory_of(BASE, mesh=mesh, precision=precision)
    near = exact.search(cases.random_rows(24, DIM, seed=2), memory, k=10)
    assert near.num_redone == 0, precision


@pytest.mark.parametrize(
  "options, message",
  [
    ({"k": 0}, "k = 0, but the memory has 420 rows"),
    ({"k": 421}, "choose k from 1 to 420"),
    ({"queries": BASE[:2, :5]}, r"shape \(2, 5\).* needs \[Q, 16\]"),
    ({"queries": BASE[:3] * [[1], [np.nan], [1]]}, "Query 1 holds NaN"),
    ({"queries": BASE[:3] * [[1], [1], [np.inf]]}, "Query 2 holds NaN"),
    ({"exclude_self": ["r0"]}, "1 ids for 2 queries"),
    ({"row_tile": 300}, "row_tile = 300: choose a power of two"),
    ({"row_tile": 1}, "row_tile = 1"),
    ({"query_tile": -4}, "query_tile = -4"),
  ],
)
def test_bad_input_is_named(options, message, mesh):
  memory = cases.memory_of(BASE, mesh=mesh)
  options = {"queries": BASE[:2], "k": 10} | options
  with pytest.raises(ValueError, match=message):
    exact.tiled_search(options.pop("queries"), memory, **options)


def test_a_search_that_does_not_fit_says_what_it_needs(mesh, monkeypatch):
  memory = cases.memory_of(BASE, mesh=mesh)
  monkeypatch.setattr(room, "free_bytes", lambda device: 10_000)
  with pytest.raises(MemoryError, match="k = 10 by 32 queries at once needs"):
    exact.search(cases.random_rows(24, DIM), memory, k=10)


def test_lanes_that_hide_more_neighbors_than_are_opened():
  # The first pass keeps two scores of a lane; here three of each are sought.
  mesh, k = distributed.make_mesh(1), 45
  count = 64_000
  rows = cases.random_rows(count, DIM, seed=7)
  memory = cases.memory_of(rows, mesh=mesh)
  sizes = tiling.plan(
    dim=DIM,
    num_queries=8,
    shard_rows=memory.capacity,
    k=k,
    precision="float32",
    backend="cpu",
  )
  assert sizes.lane > 2 and 3 * (sizes.num_opened + 1) <= k, sizes
  per_tile = sizes.rows // sizes.lane
  slots = np.arange(k // 3) + per_tile * np.arange(sizes.lane)[:, None]
  crowd = layout.turns_of(slots, memory.capacity)
  crowd = np.concatenate([column[column < count][:3] for column in crowd.T])
  assert len(crowd) == k
  rows[crowd] = cases.unit(rows[:1] + 0.01 * rows[crowd])
  memory = cases.memory_of(rows, mesh=mesh)
  queries = np.concatenate([rows[crowd[:4]], cases.random_rows(4, DIM)])
  near = exact.search(queries, memory, k=k)
  cases.assert_exact(near, queries, rows, k=k)
  assert 4 <= near.num_redone < 8


def test_rows_that_one_shard_cannot_order():
  # The first pass sees them as equal, and there are more than candidates.
  mesh = distributed.make_mesh(8)
  rows = BASE.copy()
  capacity = cases.memory_of(rows, mesh=mesh).capacity
  crowd = layout.turns_of(np.arange(3 * 256, 4 * 256), capacity)
  crowd = crowd[crowd < NUM_ROWS]
  assert capacity == 8 * 256 and len(crowd) > 40
  rows[crowd] = cases.unit(BASE[:1] + 1e-7 * rows[crowd])
  memory = cases.memory_of(rows, mesh=mesh)
  queries = cases.unit(BASE[:1] + 0.1 * cases.random_rows(26, DIM, seed=5))
  near = exact.search(queries, memory, k=10)
  cases.assert_exact(near, queries, rows, k=10)
  assert near.num_redone == len(queries)


# The certificate can fail: each tampering below gives a wrong answer.


@pytest.fixture
def retraced():
  """Lets a tampered search be traced, and forgets those traces afterwards."""
  jax.clear_caches()
  yield
  jax.clear_caches()


@pytest.mark.parametrize(
  "precision",
  ["float32", "int8", pytest.param("bfloat16", marks=SLOW)],
)
def test_without_slack_answers_are_wrong(precision, monkeypatch, retraced):
  # Too close for the first pass to order, more of them than candidates.
  rows = cases.unit(BASE[:1] + 1e-5 * np.roll(BASE, 1, axis=0))
  memory = cases.memory_of(
    rows, mesh=distributed.make_mesh(1), precision=precision
  )
  queries = cases.unit(BASE[:1] + 0.1 * cases.random_rows(24, DIM, seed=5))
  near = exact.search(queries, memory, k=10)
  assert near.num_redone == len(queries)
  cases.assert_exact(near, queries, rows, k=10)

  rounding = first_pass.rounding
  monkeypatch.setattr(first_pass, "rounding", lambda q: rounding(q) - 1)
  jax.clear_caches()
  near = exact.search(queries, memory, k=10)
  assert near.num_redone < len(queries)  # Ties for the last place remain.
  with pytest.raises(AssertionError):
    cases.assert_exact(near, queries, rows, k=10)


def test_without_residuals_answers_are_wrong():
  # Similarities to the first axis, all a little above one bfloat16 number.
  near_axis = 0.80085 + 4e-6 * np.random.default_rng(6).permutation(NUM_ROWS)
  rows = np.zeros_like(BASE)
  rows[:, 0], rows[:, 1] = near_axis, np.sqrt(1 - near_axis**2)
  rows = cases.unit(rows)
  memory = cases.memory_of(
    rows, mesh=distributed.make_mesh(1), precision="bfloat16"
  )
  queries = np.tile(np.eye(DIM, dtype=np.float32)[:1], (24, 1))
  near = exact.search(queries, memory, k=10)
  assert near.num_redone == len(queries)
  cases.assert_exact(near, queries, rows, k=10)

  coarse = memory.rows.coarse
  coarse = dataclasses.replace(coarse, residuals=0 * coarse.residuals)
  tampered = dataclasses.replace(
    memory, rows=dataclasses.replace(memory.rows, coarse=coarse)
  )
  near = exact.search(queries, tampered, k=10)
  assert near.num_redone == 0
  with pytest.raises(AssertionError):
    cases.assert_exact(near, queries, rows, k=10)


def near_duplicates(count, dim):
  groups = cases.random_rows(count // 7, dim, seed=3).repeat(7, axis=0)
  noise = np.random.default_rng(4).standard_normal(groups.shape)
  return cases.unit(groups + 0.1 / np.sqrt(dim) * noise)


@pytest.mark.parametrize(
  "dim, precision, count",
  [(64, "int8", 256), (768, "int8", 256), (768, "bfloat16", 512)],
)
def test_few_queries_need_a_second_attempt(dim, precision, count):
  memories = {
    "random": cases.random_rows(7000, dim),
    "near-duplicates": near_duplicates(7000, dim),
  }
  for name, rows in memories.items():
    memory = cases.memory_of(
      rows, mesh=distributed.make_mesh(1), precision=precision
    )
    noise = cases.random_rows(count, dim, seed=5)
    queries = cases.unit(rows[:count] + 0.5 * noise)
    near = exact.search(queries, memory, k=50)
    assert near.num_redone <= count // 256, name  # Less than half a percent.
