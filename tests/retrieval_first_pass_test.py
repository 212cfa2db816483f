"""The first pass: what it keeps, and that its bound holds for all the rest."""

import dataclasses
import functools
import itertools

import hypothesis
import jax
import jax.numpy as jnp
import memory_cases as cases
import numpy as np
import pytest
from hypothesis import strategies as st

from visual_memory import distributed
from visual_memory.memory.coarse import PRECISIONS
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import (
  candidates,
  certified,
  first_pass,
  rescoring,
  tiling,
  top_values,
)

DIM = 16


def integers(shape, seed=0):
  values = np.random.default_rng(seed).integers(-(2**28), 2**28, shape)
  return values.astype(np.int32)


def floats(shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("make", [integers, floats])
@pytest.mark.parametrize("lane", [2, 4, 16])
def test_keeps_the_two_best_of_every_lane_and_their_places(make, lane):
  scores = make((5, 96 * lane))
  best, second = jax.jit(first_pass.two_best_per_lane, static_argnums=1)(
    jnp.asarray(scores), lane
  )
  lanes = scores.reshape(5, lane, 96)
  order = np.argsort(-(lanes.astype(np.float64)), axis=1)
  for rank, kept in enumerate((np.asarray(best), np.asarray(second))):
    place = kept.view(np.int32) & (lane - 1)
    assert (place == order[:, rank]).mean() > 0.999  # Low bits may tie.
    true = np.take_along_axis(lanes, place[:, None], axis=1)[:, 0]
    if make is integers:
      assert (kept - place == true & ~(lane - 1)).all()
    else:
      np.testing.assert_allclose(kept, true, rtol=lane * 2.0**-23)
  assert (best >= second).all()


@pytest.mark.parametrize(
  "width, count", [(60, 7), (4096, 3), (4096, 125), (4096, 900)]
)
def test_largest_finds_the_largest(width, count):
  values = floats((4, width))
  values[1] = 0.5  # All equal.
  values[2] = -np.abs(values[2]) - 1e-3
  values[3, : width // 2] = -1e30  # As of empty slots.
  found, columns = jax.jit(top_values.largest, static_argnums=1)(values, count)
  np.testing.assert_array_equal(found, -np.sort(-values, axis=1)[:, :count])
  np.testing.assert_array_equal(
    np.take_along_axis(values, np.asarray(columns), axis=1), found
  )
  assert all(len(set(row)) == count for row in np.asarray(columns).tolist())


@functools.partial(jax.jit, static_argnames="sizes")
def list_candidates(queries, rows, sizes):
  prepared = first_pass.prepare(queries, rows)
  start = jnp.int32(0)
  *ranked, bound = candidates.list_candidates(prepared, rows, start, sizes)
  scores = first_pass.scores(prepared, rows, masked=False)
  lifts = first_pass.lifts(prepared, rows)
  if lifts is not None:
    scores = scores + lifts[None]
  return ranked, bound, scores, prepared


def slots_of(ranked):
  """All that is listed, in whatever batches, [Q, M]."""
  return np.concatenate([x.flat for x in ranked], axis=1)


def canonical(queries, rows):
  exact = queries.astype(np.float64) @ rows.astype(np.float64).T
  return exact.astype(np.float32)


def awkward_rows(data, count):
  """Rows that are hard on rounding: sparse, repeated, near each other."""
  seed = data.draw(st.integers(0, 2**20), label="seed")
  kind = data.draw(
    st.sampled_from(["random", "sparse", "close", "zero", "uneven"]),
    label="kind",
  )
  rng = np.random.default_rng(seed)
  rows = rng.standard_normal((count, DIM))
  if kind == "sparse":
    rows = np.sign(rows) * (rng.random((count, DIM)) < 0.1)
  elif kind == "close":
    rows = rows[:1] + 10.0 ** -rng.integers(1, 9) * rows
  elif kind == "uneven":
    rows = rows * 10.0 ** -rng.integers(0, 12, (count, DIM))
  elif kind == "zero":
    rows = rows * (rng.random((count, 1)) < 0.5)
  lengths = np.linalg.norm(rows, axis=1, keepdims=True)
  return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("thorough", [False, True])
@hypothesis.settings(
  max_examples=20,
  deadline=None,
  derandomize=True,
  suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(data=st.data())
def test_the_bound_holds_for_every_row_that_is_not_listed(
  thorough, precision, data
):
  count = 500 if thorough else 900  # In 512 and 1024 slots.
  rows = awkward_rows(data, count)
  length = data.draw(st.sampled_from([1, 1, 1e-9, 1e9]), label="length")
  queries = awkward_rows(data, 8) * np.float32(length)
  # The scale of an int8 copy may be that of other rows.
  first = data.draw(st.sampled_from([1, count]), label="rows at first")
  memory = VisualMemory.from_embedded(
    cases.embedded_rows(rows[:first]),
    mesh=distributed.make_mesh(1),
    precision=precision,
    capacity=count,
  )
  if first < count:
    more = cases.embedded_rows(rows[first:], first_id=first)
    memory = memory.add(more, donate=True)
  sizes = tiling.plan(
    dim=64,
    num_queries=8,
    shard_rows=memory.capacity,
    k=1,
    precision=precision,
    backend="cpu",
    row_tile=256,
    thorough=thorough,
  )
  if not thorough:  # So few rows would not be worth hiding any.
    sizes = dataclasses.replace(sizes, lane=8, num_opened=4)
  sizes = dataclasses.replace(sizes, super_rows=memory.capacity)
  ranked, bound, scores, prepared = jax.device_get(
    list_candidates(queries, memory.rows, sizes)
  )
  found = slots_of(ranked)
  held = np.asarray(memory.rows.embeddings)
  similarities = canonical(queries, held)
  estimates = scores.astype(np.float64) * prepared.scales[:, None]
  slack = prepared.slack[:, None].astype(np.float64)
  assert (similarities <= estimates + slack).all()
  live = np.asarray(memory.rows.mask)
  for query in range(8):
    listed = found[query][found[query] >= 0]
    unlisted = live.copy()
    unlisted[listed] = False
    assert (similarities[query][unlisted] <= bound[query]).all()
    for batches in ranked:
      at, limits = batches.slots[query], batches.bounds[query]
      held_at = np.where((at >= 0) & live[at], similarities[query][at], -2e9)
      most = held_at.max(axis=1)
      # A row whose place is lost is among those that are not listed.
      assert (most <= np.maximum(limits, bound[query])).all()
      assert (limits[1:] <= limits[:-1]).all()
    # A row listed twice would be found twice: no such query is certified.
    if len(set(listed[live[listed]])) < live[listed].sum():
      assert bound[query] >= 0 and similarities[query][listed].min() <= 0


@pytest.mark.parametrize("floor", [-np.inf, 0.3, 0.9, 2, np.inf])
def test_batches_that_cannot_reach_the_floor_are_left_out(floor):
  bounds = np.array([[0.9, 0.9, 0.5, 0.3, 0.1]], np.float32)
  slots = np.arange(20, dtype=np.int32)
  ranked = candidates.Ranked(
    slots=jnp.asarray(slots.reshape(1, 5, 4)), bounds=bounds
  )
  scored = []

  def score(slots):
    jax.debug.callback(lambda new: scored.extend(new[0].tolist()), slots)
    return slots / jnp.float32(64)

  scores, bound = jax.device_get(
    jax.jit(lambda floor: rescoring.similarities_from(floor, ranked, score))(
      np.float32([floor])
    )
  )
  jax.effects_barrier()
  reach = np.repeat(bounds[0] >= floor, 4)
  expected = np.where(reach, slots / np.float32(64), -np.inf)
  np.testing.assert_array_equal(scores[0], expected)
  assert sorted(scored) == slots[reach].tolist()
  assert bound == np.max(bounds[bounds < floor], initial=-np.inf)


def test_places_in_low_bits_of_whole_numbers_are_in_the_bound():
  # Rows of whole numbers over 127: int8 holds them without any error, so that
  # nothing but the places in the lowest bits stands in for other slack.
  tail = np.stack(np.meshgrid(*[np.arange(128)] * 3), axis=-1).reshape(-1, 3)
  rest = 127**2 - np.square(tail).sum(axis=1)
  head = np.sqrt(np.maximum(rest, 0)).round().astype(int)
  wholes = np.column_stack([head, tail])[head**2 == rest]
  wholes = np.random.default_rng(0).permutation(wholes)[:500]
  rows = np.zeros((500, DIM), np.float32)
  rows[:, :4] = wholes / 127
  rows[0] = np.eye(DIM)[0]
  memory = cases.memory_of(
    rows, mesh=distributed.make_mesh(1), precision="int8", capacity=500
  )
  assert np.asarray(memory.rows.coarse.residuals).max() < 1e-6
  queries = np.tile(np.eye(DIM, dtype=np.float32)[:4], (2, 1))
  sizes = tiling.plan(
    dim=DIM, num_queries=8, shard_rows=512, k=1, precision="int8", backend="cpu"
  )
  sizes = dataclasses.replace(sizes, lane=8, num_candidates=20, num_opened=4)
  ranked, bound, _, _ = list_candidates(queries, memory.rows, sizes)
  unlisted = np.asarray(memory.rows.mask) & np.ones((8, 1), bool)
  for query, listed in enumerate(slots_of(ranked)):
    unlisted[query, listed[listed >= 0]] = False
  similarities = canonical(queries, np.asarray(memory.rows.embeddings))
  most = np.where(unlisted, similarities, -1).max(axis=1)
  assert (most <= np.asarray(bound)).all()


@pytest.mark.parametrize("exchange", [False, True])
def test_both_ways_of_merging_are_equal(exchange):
  # Fourfold rows: k = 12 does not part equals, which would leave doubt.
  mesh = distributed.make_mesh(8)
  rows = np.tile(cases.random_rows(105, DIM), (4, 1))
  memory = cases.memory_of(rows, mesh=mesh)
  queries = cases.random_rows(24, DIM, seed=1)
  sizes = tiling.plan(
    dim=64,
    num_queries=24,
    shard_rows=256,
    k=12,
    precision="float32",
    backend="cpu",
  )
  found, certain = certified.search(
    queries,
    memory.rows,
    np.full(24, -1, np.int32),
    mesh=mesh,
    k=12,
    tiling=sizes,
    few_bytes=0 if exchange else 1 << 40,
  )
  assert np.asarray(certain).all()
  scores = canonical(queries, rows)
  order = np.argsort(-scores, axis=1, kind="stable")[:, :12]
  np.testing.assert_array_equal(found.serials, order)
  np.testing.assert_array_equal(
    found.similarities, np.take_along_axis(scores, order, axis=1)
  )
  for values in jax.tree.leaves(found):
    copies = [np.asarray(part.data) for part in values.addressable_shards]
    assert all((copy == copies[0]).all() for copy in copies)


# Each a program of its own: the other pairs are left to the slow tests.
PAIRS = [
  ("cpu", "float32"), ("cpu", "int8"), ("gpu", "bfloat16"), ("tpu", "int8"),
]  # fmt: skip


@pytest.mark.parametrize(
  ("backend", "precision"),
  [
    pytest.param(*pair, marks=[pytest.mark.slow] * (pair not in PAIRS))
    for pair in itertools.product(("cpu", "gpu", "tpu"), PRECISIONS)
  ],
)
def test_the_sizes_of_any_hardware_find_the_same(backend, precision):
  mesh, k = distributed.make_mesh(2), 30
  rows = cases.random_rows(20_000, DIM)
  memory = cases.memory_of(rows, mesh=mesh, precision=precision)
  queries = cases.random_rows(48, DIM, seed=1)
  sizes = tiling.plan(
    dim=DIM,
    num_queries=48,
    shard_rows=memory.capacity // 2,
    k=k,
    precision=precision,
    backend=backend,
    num_shards=2,
  )
  assert sizes.map_queries == (1 if backend == "cpu" else 48)
  found, certain = certified.search(
    queries,
    memory.rows,
    np.full(48, -1, np.int32),
    mesh=mesh,
    k=k,
    tiling=sizes,
  )
  certain = np.asarray(certain)
  assert certain.mean() > 0.9
  scores = canonical(queries, rows)
  order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
  np.testing.assert_array_equal(
    np.asarray(found.similarities)[certain],
    np.take_along_axis(scores, order, axis=1)[certain],
  )
  np.testing.assert_array_equal(
    np.asarray(found.serials)[certain], order[certain]
  )


def test_parts_list_their_share_and_some_more():
  def plan(num_shards, k=100):
    return tiling.plan(
      num_queries=512,
      shard_rows=(1 << 23) // num_shards,
      dim=64,
      k=k,
      precision="float32",
      backend="cpu",
      num_shards=num_shards,
    )

  # The whole is in eight super-tiles, on any number of devices up to that.
  assert plan(1).num_candidates == plan(8).num_candidates < 100
  assert plan(1).num_merged > 100 > plan(8).num_merged > 100 / 8
  assert plan(64).num_candidates < plan(8).num_candidates / 1.5
  assert plan(1024).num_merged < 12


def test_plans_divide_and_hold():
  for shard_rows in (256, 4352, 1 << 20, 40 * (1 << 15), 163_840):
    for k in (1, 10, 100, 1000):
      for thorough in (False, True):
        plan = tiling.plan(
          dim=64,
          num_queries=512,
          shard_rows=shard_rows,
          k=k,
          precision="int8",
          backend="cpu",
          thorough=thorough,
        )
        assert shard_rows % plan.super_rows == 0
        assert plan.super_rows % plan.rows == 0
        assert plan.rows % plan.lane == 0
        assert plan.rows & (plan.rows - 1) == 0 == plan.lane & (plan.lane - 1)
        assert plan.num_candidates < plan.super_rows
        assert 0 < plan.num_opened <= plan.num_candidates
        # The thorough attempt hides no row of a lane that it lists.
        assert not thorough or plan.num_opened == plan.num_candidates
