"""After any edits, a store's memory answers like one built from what is left.

Bit for bit, on one device and on eight, whether it was loaded at the end or
loaded at the beginning and refreshed.
"""

import hypothesis
import memory_cases as cases
import numpy as np
import pytest
import store_cases
from hypothesis import strategies as st
from store_cases import small_store

from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.store.store import Store
from visual_memory.voting import vote

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
