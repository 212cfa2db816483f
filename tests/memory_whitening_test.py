"""Whitened memories: against ZCA in float64, and after any history."""

import copy
import pickle

import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.memory import whitening
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.store.errors import StoreError
from visual_memory.store.store import Store
from visual_memory.types import embedded_set

NAMES = ("ant", "bee", "cat")


def rows(count, *, dim=24, seed=0, name="row"):
  """Unit rows of a bent cloud, off center."""
  rng = np.random.default_rng(seed)
  made = rng.standard_normal((count, dim)) * np.linspace(0.1, 2, dim) + 0.4
  made /= np.linalg.norm(made, axis=1, keepdims=True)
  return embedded_set(
    made.astype(np.float32),
    rng.integers(0, len(NAMES), count),
    [f"{name}/{i}" for i in range(count)],
    class_names=NAMES,
    fingerprint="encoder",
  )


def cosines(queries, held, ridge):
  """What ZCA whitening gives, in float64."""
  held, queries = held.astype(np.float64), queries.astype(np.float64)
  mean = held.mean(axis=0)
  values, vectors = np.linalg.eigh(np.cov(held.T, bias=True))
  square_root = (values + ridge * values.mean()) ** -0.5
  zca = vectors @ np.diag(square_root) @ vectors.T
  made = [(part - mean) @ zca for part in (queries, held)]
  made = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in made]
  return made[0] @ made[1].T


def assert_same(memory, other):
  """Every bit that a search reads."""
  assert memory.ids.tolist() == other.ids.tolist()
  for part in ("count", "sums", "products"):
    np.testing.assert_array_equal(
      getattr(memory.whitening.moments, part),
      getattr(other.whitening.moments, part),
    )
  np.testing.assert_array_equal(memory.whitening.factor, other.whitening.factor)
  assert (
    memory.searched().embeddings.tobytes()
    == other.searched().embeddings.tobytes()
  )


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_cosines_are_those_of_zca(mesh, ridge):
  held, asked = rows(300), rows(9, seed=1)
  memory = VisualMemory.from_embedded(held, mesh=mesh, whitening=ridge)
  near = exact.search(asked, memory, k=300)
  expected = cosines(asked.embeddings, held.embeddings, ridge)
  np.testing.assert_allclose(
    near.similarities,
    np.take_along_axis(expected, np.asarray(near.indices), axis=1),
    atol=2e-4 if ridge < 1 else 5e-5,  # The grid of 2**-14, and float32.
  )
  # The length of a query tells nothing, and a row finds itself.
  scaled = exact.search(asked.embeddings * 7, memory, k=5)
  np.testing.assert_allclose(
    scaled.similarities, near.similarities[:, :5], atol=1e-6
  )
  own = exact.search(held, memory, k=1)
  np.testing.assert_array_equal(own.ids[:, 0], held.ids)
  np.testing.assert_array_equal(
    memory.embedded().embeddings,
    held.embeddings,  # As they were put in.
  )


def test_moments_are_the_same_integers_on_host_and_devices(mesh):
  held = rows(700, dim=16)
  steps = np.rint(held.embeddings.astype(np.float64) * 2**14).astype(object)
  found = VisualMemory.from_embedded(held, mesh=mesh, whitening=1.0).whitening
  for moments in (found.moments, whitening.moments_of(held.embeddings)):
    assert moments.count == 700
    assert moments.sums.tolist() == steps.sum(axis=0).tolist()
    assert moments.products.tolist() == (steps.T @ steps).tolist()


@pytest.mark.parametrize("seed, precision", [(0, "float32"), (1, "int8")])
def test_no_history_is_left_in_a_memory(seed, precision):
  rng = np.random.default_rng(seed)
  left, pool = rows(120, seed=seed), rows(400, seed=seed + 10, name="new")
  memory = VisualMemory.from_embedded(
    left, mesh=distributed.make_mesh(8), precision=precision, whitening=1.0
  )
  start = 0
  for _ in range(6):
    if rng.random() < 0.5:
      more = pool.take(range(start, start + int(rng.integers(1, 60))))
      start += len(more)
      memory = memory.add(more, donate=bool(rng.integers(2)))
    else:
      gone = rng.choice(memory.ids, int(rng.integers(1, 20)), replace=False)
      memory = memory.remove(gone, donate=bool(rng.integers(2)))
  few = memory.ids[:3]
  memory = memory.relabel(few, ["wolf"] * 3)
  for devices in (1, 3):
    never = VisualMemory.from_embedded(
      memory.embedded(),
      mesh=distributed.make_mesh(devices),
      precision=precision,
      whitening=1.0,
    )
    assert_same(memory, never)
    asked = rows(20, seed=99)
    one, two = (exact.search(asked, m, k=7) for m in (memory, never))
    assert one.ids.tolist() == two.ids.tolist()
    assert one.similarities.tobytes() == two.similarities.tobytes()
  part = memory.subset(memory.ids[::2])
  assert_same(part, VisualMemory.from_embedded(part.embedded(), whitening=1.0))
  assert_same(memory, pickle.loads(pickle.dumps(memory)))
  assert_same(memory, copy.deepcopy(memory))


def test_what_does_not_vary_stays_as_it_is():
  held = rows(5)
  alone = VisualMemory.from_embedded(held.take([0]), whitening=1.0)
  near = exact.search(held.embeddings[:1], alone, k=1)
  np.testing.assert_allclose(near.similarities, 1, atol=1e-6)
  empty = alone.remove(["row/0"])
  assert len(empty) == 0 and empty.whitening.moments.count == 0
  assert_same(empty.add(held), VisualMemory.from_embedded(held, whitening=1.0))
  blank = embedded_set(
    np.zeros((1, 24), np.float32),
    np.zeros(1, np.int32),
    ["blank"],
    class_names=NAMES,
    fingerprint="encoder",
  )
  memory = empty.add(held).add(blank)
  assert not memory.searched().embeddings[-1].any()
  assert memory.whitening.moments.count == 5
  assert not exact.search(blank, memory, k=6).similarities.any()


def test_it_can_be_chosen_and_undone():
  held = rows(40)
  plain = VisualMemory.from_embedded(held, precision="bfloat16")
  white = plain.whitened(0.5)
  assert "whitened (ridge 0.5)" in repr(white)
  assert white.rows.precision == "bfloat16"
  back = white.whitened(2.0).whitened(None)
  assert back.whitening is None
  assert back.searched().embeddings.tobytes() == held.embeddings.tobytes()
  for ridge in (0, -1, float("nan"), True, np.inf):
    with pytest.raises(ValueError, match="ridge of 0.0001 to 10,000"):
      plain.whitened(ridge)
    with pytest.raises(ValueError, match="ridge of 0.0001 to 10,000"):
      VisualMemory.from_embedded(held, whitening=ridge)


def test_a_store_decides_for_its_memories(tmp_path):
  held = rows(60)
  store = Store.create(tmp_path / "store", held, attributes={"mine": 1})
  memory = store.load()
  assert memory.whitening is None
  store.whiten(2.0)
  assert store.attributes == {"mine": 1, "whitening": 2.0}
  memory = store.refresh(memory)
  assert_same(memory, Store.open(tmp_path / "store").load())
  store.add(rows(30, seed=3, name="new"))
  store.remove(["row/3", "new/4"])
  memory = store.refresh(memory, donate=True)
  assert_same(
    memory, VisualMemory.from_embedded(store.embedded(), whitening=2.0)
  )
  np.testing.assert_array_equal(
    store.embedded().embeddings[:3], held.embeddings[:3]
  )
  with pytest.raises(ValueError, match="ridge"):
    store.whiten(-1)
  store.whiten(None)
  assert store.attributes == {"mine": 1}
  assert store.refresh(memory).whitening is None
  store.describe({"whitening": "much"})
  with pytest.raises(StoreError, match="description is wrong.*'much'"):
    store.load()
