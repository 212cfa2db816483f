"""The Kolmogorov-Smirnov descent against SciPy, one test after the other."""

import math

import numpy as np
import pytest
from scipy import stats

from visual_memory.data import taxonomy
from visual_memory.voting import hierarchy

PATHS = [
  (kingdom, f"{kingdom}{genus}", f"{kingdom}{genus}{species}")
  for kingdom in "ab"
  for genus in "123"
  for species in "xyz"[: 1 + (kingdom == "a") + (genus == "2")]
]
NUM_BINS = 2048


def corners(rng, count):
  """Unit rows whose dot products are exact: multiples of 1/8."""
  return rng.choice([-0.25, 0.25], (count, 16)).astype(np.float32)


def make_case(seed, rows_per_class):
  rng = np.random.default_rng(seed)
  tree = taxonomy.from_paths(PATHS)
  labels = rng.permutation(np.repeat(np.arange(len(PATHS)), rows_per_class))
  centers = corners(rng, len(PATHS))
  rows = centers[labels] * np.where(rng.random((len(labels), 16)) < 0.3, -1, 1)
  at = rng.integers(0, len(PATHS), 40)
  asked = centers[at] * np.where(rng.random((40, 16)) < 0.25, -1, 1)
  return asked.astype(np.float32), rows.astype(np.float32), labels, tree


def scipy_descent(query, rows, labels, tree):
  """Algorithm 1 as it reads, with SciPy's test."""
  inside = np.ones(len(labels), bool)
  nodes, statistics = [], []
  for level in range(len(tree.levels)):
    best = (math.inf, None)
    for node in range(len(tree.nodes[level])):
      members = inside & (tree.ancestors[labels, level] == node)
      chosen = rows[members].astype(float)
      if len(chosen) < 2:
        continue
      cross = 1 - chosen @ query.astype(float)
      inner = (1 - chosen @ chosen.T)[np.triu_indices(len(chosen), 1)]
      found = stats.ks_2samp(cross, inner, method="asymp")
      size = len(cross) * len(inner) / (len(cross) + len(inner))
      statistic = round(found.statistic * math.sqrt(size), 12)  # Ties are ties.
      if statistic < best[0]:
        best = statistic, node
    statistic, node = best
    if node is None:
      places = np.flatnonzero(inside)
      order = np.lexsort(tree.ancestors[labels[places]].T[::-1])
      places = places[order]
      nearest = places[np.argmax(rows[places] @ query)]
      node = tree.ancestors[labels[nearest], level]
    nodes.append(node)
    statistics.append(statistic)
    inside &= tree.ancestors[labels, level] == node
  return nodes, statistics


@pytest.mark.parametrize("seed", range(3))
def test_equals_scipy_step_by_step(seed):
  rng = np.random.default_rng(seed)
  asked, rows, labels, tree = make_case(seed, rng.integers(2, 9, len(PATHS)))
  found = hierarchy.descend(asked, rows, labels, tree, num_bins=NUM_BINS)
  assert found.num_untested == 0
  for query in range(len(asked)):
    nodes, statistics = scipy_descent(asked[query], rows, labels, tree)
    np.testing.assert_array_equal(found.nodes[query], nodes)
    np.testing.assert_allclose(
      found.log_p[query], stats.kstwobign.logsf(statistics), atol=1e-9
    )


def test_children_without_rows_are_never_entered():
  counts = np.array([3, 4, 1, 1, 1, 5, 0, 0, 1, 1, 4])
  asked, rows, labels, tree = make_case(7, counts)
  found = hierarchy.descend(asked, rows, labels, tree, num_bins=NUM_BINS)
  assert 0 < found.num_untested < found.nodes.size
  assert (counts[found.nodes[:, -1]] > 0).all()
  for query in range(len(asked)):
    nodes, _ = scipy_descent(asked[query], rows, labels, tree)
    np.testing.assert_array_equal(found.nodes[query], nodes)


def test_every_path_is_one_of_the_tree():
  asked, rows, labels, tree = make_case(3, np.full(len(PATHS), 4))
  found = hierarchy.descend(asked, rows, labels, tree)
  np.testing.assert_array_equal(found.nodes, tree.ancestors[found.nodes[:, -1]])


def test_pairs_are_counted_across_tiles(monkeypatch):
  from visual_memory.voting import row_tree

  _, rows, labels, tree = make_case(5, np.full(len(PATHS), 30))
  ranges = row_tree.RowTree.of(labels, tree)
  ordered = rows[ranges.order]
  whole = row_tree.inner_distributions(ordered, ranges, num_bins=64)
  monkeypatch.setattr(row_tree, "_ROW_TILE", 32)
  monkeypatch.setattr(row_tree, "_COLUMN_TILE", 128)
  row_tree._count_pairs.clear_cache()
  tiled = row_tree.inner_distributions(ordered, ranges, num_bins=64)
  row_tree._count_pairs.clear_cache()
  np.testing.assert_array_equal(whole, tiled)
  sizes = ranges.ends - ranges.starts
  np.testing.assert_array_equal(whole[:, -1], sizes * (sizes - 1) // 2)


def test_log_p_is_finite_where_p_underflows():
  statistic = np.array([0.0, 0.3, 1.0, 5.0, 14.9, 15.0, 15.1, 50.0, 1e3])
  log_p = hierarchy.log_p_value(statistic)
  assert np.isfinite(log_p).all() and (np.diff(log_p) < 0).all()
  np.testing.assert_allclose(
    log_p[:6], stats.kstwobign.logsf(statistic[:6]), rtol=1e-12, atol=1e-15
  )
  assert stats.kstwobign.sf(50.0) == 0  # What the published rule sees.
  assert log_p[7] == pytest.approx(math.log(2) - 5000)


def test_bad_input_is_named():
  asked, rows, labels, tree = make_case(0, np.full(len(PATHS), 2))
  with pytest.raises(ValueError, match="Row 1 has label 99"):
    hierarchy.descend(asked, rows[:2], np.array([0, 99]), tree)
  with pytest.raises(ValueError, match="no rows"):
    hierarchy.descend(asked, rows[:0], labels[:0], tree)
  with pytest.raises(ValueError, match="num_bins"):
    hierarchy.descend(asked, rows, labels, tree, num_bins=1)
