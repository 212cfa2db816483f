"""Rows, memories and counts that the tests of memory and retrieval share."""

import contextlib

import jax
import numpy as np

from visual_memory import types
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact, reference

CLASS_NAMES = ("ant", "bee", "cat", "dog", "eel")
_compilations = []
jax.monitoring.register_event_duration_secs_listener(
  lambda name, seconds, **kwargs: (
    _compilations.append(name) if "backend_compile" in name else None
  )
)


@contextlib.contextmanager
def counted_compilations():
  """A list that holds one entry per XLA compilation of the block, after it."""
  begin, counted = len(_compilations), []
  yield counted
  counted.extend(_compilations[begin:])


def unit(rows):
  """Rows divided by their length, as float32."""
  rows = np.asarray(rows, np.float64)
  return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_rows(count, dim, seed=0):
  """Random unit rows."""
  return unit(np.random.default_rng(seed).standard_normal((count, dim)))


def embedded_rows(rows, *, first_id=0, fingerprint="encoder"):
  """An EmbeddedSet of these rows: ids r0, r1, ..., and labels by turns."""
  return types.embedded_set(
    rows,
    np.arange(len(rows)) % len(CLASS_NAMES),
    [f"r{first_id + i}" for i in range(len(rows))],
    class_names=CLASS_NAMES,
    fingerprint=fingerprint,
  )


def memory_of(rows, **options):
  """A memory of these rows."""
  return VisualMemory.from_embedded(embedded_rows(rows), **options)


def assert_exact(near, queries, rows, *, k):
  """Asserts that these are the true neighbors, in canonical order."""
  positions, similarities = reference.search(queries, rows, k=k)
  expected = np.array([f"r{p}" for p in positions.ravel()], dtype=object)
  wrong = near.ids != expected.reshape(positions.shape)
  assert not wrong.any(), (
    f"queries {np.flatnonzero(wrong.any(axis=1))}: found {near.ids[wrong][:5]}"
    f" for {expected.reshape(positions.shape)[wrong][:5]}"
  )
  np.testing.assert_array_equal(near.similarities, similarities)
  np.testing.assert_array_equal(near.labels, positions % len(CLASS_NAMES))


def assert_same(near, other):
  """Asserts equal neighbors, bit for bit."""
  for name in ("ids", "indices", "labels"):
    np.testing.assert_array_equal(getattr(near, name), getattr(other, name))
  np.testing.assert_array_equal(
    near.similarities.view(np.int32), other.similarities.view(np.int32)
  )


def edit_and_search(mesh, *, precision):
  """Neighbors after each of several edits, ties across shards included."""
  base = random_rows(150, 16, seed=11)
  rows = np.tile(base, (3, 1))  # Every similarity three times.
  memory = memory_of(rows, mesh=mesh, precision=precision)
  queries = np.concatenate([random_rows(6, 16, seed=12), base[:6], -base[:2]])
  found = {"all": exact.search(queries, memory, k=10)}
  found["excluded"] = exact.search(
    rows[:14], memory, k=10, exclude_self=[f"r{i}" for i in range(14)]
  )
  memory = memory.remove([f"r{i}" for i in range(0, 450, 4)], donate=True)
  memory = memory.relabel(["r1", "r2"], ["eel", "eel"])
  found["fewer"] = exact.search(queries, memory, k=10)
  memory = memory.add(embedded_rows(rows[::4], first_id=1000))
  memory = memory.add(
    embedded_rows(random_rows(2000, 16, seed=13), first_id=2000)
  )
  memory = memory.subset(list(memory.embedded().ids[::3]))
  found["subset"] = exact.search(queries, memory, k=10)
  return found
