"""The map of a memory: near rows stay near, the same rows the same map."""

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

import visual_memory as vm
from visual_memory.analysis import neighbor_map
from visual_memory.data.synthetic import synthetic_embeddings


@pytest.fixture(scope="module")
def rows():
  return synthetic_embeddings(num_rows=300, dim=32, num_classes=6, seed=0)


@pytest.fixture(scope="module")
def places(rows):
  return vm.map_of(vm.VisualMemory.from_embedded(rows))


def test_near_rows_lie_near_each_other(rows, places):
  assert places.shape == (300, 2) and places.dtype == np.float32
  assert trustworthiness(rows.embeddings, places, n_neighbors=10) > 0.9
  plane = neighbor_map.principal_plane(rows.embeddings)
  flat = trustworthiness(rows.embeddings, plane, n_neighbors=10)
  assert trustworthiness(rows.embeddings, places, n_neighbors=10) > flat
  # The six classes are six islands: a row's nearest dot is of its class.
  apart = np.linalg.norm(places[:, None] - places[None], axis=2)
  np.fill_diagonal(apart, np.inf)
  same = rows.labels[apart.argmin(axis=1)] == rows.labels
  assert same.mean() > 0.95


def test_the_same_rows_give_the_same_map(rows, places):
  memory = vm.VisualMemory.from_embedded(rows)
  near = neighbor_map.neighbors_of(memory)
  told = []
  again = vm.map_of(memory, near=near, progress=told.append)
  np.testing.assert_array_equal(again, places)
  assert told == sorted(told) and told[-1] == 1
  np.testing.assert_array_equal(near.indices.shape, (300, 15))
  assert not (near.ids == rows.ids[:, None]).any()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_rows_have_places_too(rows, count):
  memory = vm.VisualMemory.from_embedded(rows.take(np.arange(count)))
  places = vm.map_of(memory)
  assert places.shape == (count, 2) and np.isfinite(places).all()
