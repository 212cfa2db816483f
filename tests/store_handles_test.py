"""A store beside others: handles, buckets, and memories that follow it."""

import os

import hypothesis
import memory_cases as cases
import numpy as np
import pytest
import store_cases
import store_test
from hypothesis import strategies as st
from store_cases import contents, numbered, small_store

from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.store.errors import StoreLocked
from visual_memory.store.store import Store
from visual_memory.voting import vote

store, reopened = store_test.store, store_test.reopened


# Several handles


def test_two_handles_see_each_others_edits(store):
  other = reopened(store)
  for turn in range(4):
    store.add(numbered(100 + 20 * turn, 110 + 20 * turn))
    other.add(numbered(110 + 20 * turn, 120 + 20 * turn))
    other.remove([f"number/{turn}"])
    store.remove([f"number/{100 + 20 * turn}"])
    store.relabel([f"number/{119 + 20 * turn}"], ["eel"])
  assert contents(store) == contents(other) == contents(reopened(store))
  assert len(store) == 40 + 4 * 18
  other.compact()
  store.remove(["number/30"])
  assert contents(store) == contents(other)
  store.verify()


def test_a_second_writer_is_told_who_is_writing(store):
  other = Store.open(store.path, timeout_s=0.05)
  with store.handle.files.writer_lock(1.0):
    with pytest.raises(StoreLocked, match=f"process {os.getpid()} on"):
      other.remove(["number/1"])
  other.remove(["number/1"])


@pytest.mark.parametrize("url", ["memory://memories/m1", "file://{}/store"])
def test_a_bucket_holds_a_store(url, tmp_path):
  store = small_store(url.format(tmp_path), metadata={"a": 1})
  store.add(numbered(100, 150))
  store.remove(["number/2", "number/120"])
  store.annotate(["number/3"], {"b": 2})
  store.relabel(["number/3"], ["fox"])
  store.compact()
  assert store.verify().num_rows == 88
  assert contents(reopened(store)) == contents(store)
  expected = [n for n in range(40) if n != 2]
  expected += [n for n in range(100, 150) if n != 120]
  assert list(store.ids) == [f"number/{n}" for n in expected]
  assert len(store.load()) == 88


# Memories


def test_a_loaded_memory_equals_a_fresh_one(store, mesh):
  store.add(numbered(100, 120))
  store.remove([f"number/{n}" for n in range(5, 30)])
  store.add(numbered(200, 210))
  memory = store.load(mesh=mesh)
  fresh = VisualMemory.from_embedded(store.embedded(), mesh=mesh)
  assert memory.capacity == fresh.capacity
  np.testing.assert_array_equal(memory.table.ids, fresh.table.ids)
  for name in ("embeddings", "labels"):
    np.testing.assert_array_equal(
      getattr(memory.rows, name), getattr(fresh.rows, name)
    )
  assert memory.table.next_serial == store.contents.next_serial


@pytest.mark.parametrize("donate", [False, True])
def test_refresh_applies_what_changed(store, mesh, donate):
  memory = store.load(mesh=mesh, capacity=400, precision="int8")
  kept = memory if donate else store.load(mesh=mesh, capacity=400)
  before = kept.embedded()
  store.remove(["number/3", "number/39"])
  store.add(numbered(100, 130))
  store.remove(["number/110"])
  store.relabel(["number/5", "number/101"], ["wolf", "bee"])
  fresh = store.refresh(memory, donate=donate)
  expected, held = store.embedded(), fresh.embedded()
  np.testing.assert_array_equal(held.embeddings, expected.embeddings)
  np.testing.assert_array_equal(held.labels, expected.labels)
  assert list(held.ids) == list(expected.ids)
  assert held.class_names == expected.class_names
  assert store.refresh(fresh) is not None
  if not donate:
    np.testing.assert_array_equal(
      memory.embedded().embeddings, before.embeddings
    )


def test_refresh_does_not_recompile(store):
  memory = store.load(capacity=1000)
  for first in (100, 200):
    store.add(numbered(first, first + 3))
    store.remove([f"number/{first}", f"number/{first // 50}"])
    store.relabel([f"number/{first // 10}"], ["eel"])
    with cases.counted_compilations() as compiled:
      memory = store.refresh(memory, donate=True)
  assert not compiled
  assert list(memory.embedded().ids) == list(store.ids)


def test_refresh_after_the_same_edits_changes_nothing(store):
  memory = store.load()
  store.add(numbered(100, 110))
  memory = memory.add(numbered(100, 110))
  store.remove(["number/1"])
  memory = memory.remove(["number/1"])
  assert store.refresh(memory).rows is memory.rows


def test_refresh_refuses_a_memory_with_edits_of_its_own(store):
  memory = store.load().add(numbered(100, 101))
  with pytest.raises(ValueError, match="edited by itself"):
    store.refresh(memory)
  store.add(numbered(200, 201))
  with pytest.raises(ValueError, match="edited by itself"):
    store.refresh(memory)


QUERIES = cases.random_rows(16, store_cases.DIM, seed=9)
CAPACITY = 2048


def answers(memory):
  """The neighbors of the queries, and what they vote for."""
  k = min(10, len(memory))
  near = exact.search(QUERIES, memory, k=k)
  votes = vote.vote(near, voter="rank", ks=(1, k), num_classes=8)
  return near, np.asarray(votes.predictions), np.asarray(votes.class_scores)


def assert_equal_answers(memory, other):
  """Asserts that two memories answer alike, bit for bit."""
  (near, *votes), (other_near, *other_votes) = answers(memory), answers(other)
  cases.assert_same(near, other_near)
  for ours, theirs in zip(votes, other_votes, strict=True):
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@hypothesis.settings(
  max_examples=6,
  deadline=None,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
  seed=st.integers(0, 10**6), num_edits=st.integers(1, 12), data=st.data()
)
def test_edited_memories_equal_fresh_ones(
  tmp_path_factory, mesh, precision, seed, num_edits, data
):
  store = small_store(tmp_path_factory.mktemp("stores") / "store")
  options = {"mesh": mesh, "capacity": CAPACITY, "precision": precision}
  refreshed = store.load(**options)
  held = {f"number/{n}": (n % 5, {}) for n in range(40)}
  for step in range(num_edits):
    edit = store_cases.planned(seed, step, held)
    store_cases.edit_store(store, edit)
    held = store_cases.edited(held, edit)
    if data.draw(st.booleans(), label="refresh"):
      refreshed = store.refresh(refreshed, donate=True)
  survivors = store_cases.rows_of(held, [label for label, _ in held.values()])
  fresh = VisualMemory.from_embedded(survivors, **options)
  assert_equal_answers(Store.open(store.path).load(**options), fresh)
  assert_equal_answers(store.refresh(refreshed, donate=True), fresh)
  store.verify()
