"""Counts by hand; votes without a neighbor, and down a taxonomy, by loops."""

import math

import memory_cases
import numpy as np
import pytest
from scipy import stats

from visual_memory.data import taxonomy
from visual_memory.types import UNLABELED, Neighbors
from visual_memory.voting import hierarchy, metrics, weighting
from visual_memory.voting.removal import predict_without_each
from visual_memory.voting.weighting import setting

# Four queries, three neighbors each, of classes 0 to 2.
NEAR_LABELS = np.array([[0, 1, 1], [1, 1, 0], [2, 0, 0], [-1, -1, -1]])


def neighbors(labels):
  labels = labels.astype(np.int32)
  return Neighbors(
    ids=labels.astype(str).astype(object),
    indices=labels,
    labels=labels,
    similarities=np.tile(np.float32([0.9, 0.5, 0.4]), (len(labels), 1)),
  )


def table(labels, near_labels=NEAR_LABELS, num_classes=3, **kwargs):
  return metrics.accuracy_table(
    neighbors(near_labels),
    np.array(labels),
    settings=weighting.published_settings(),
    ks=(1, 3),
    num_classes=num_classes,
    **kwargs,
  )


def test_counts_by_hand():
  got = table([1, 1, 0, 1])
  # By softmax the nearest neighbor outweighs the other two; by rank it is
  # 1/2 against 1/3 + 1/4.
  assert got.names == ("plurality", "distance", "softmax", "rank")
  np.testing.assert_array_equal(got.correct, [[1, 3], [1, 3], [1, 1], [1, 3]])
  assert (got.total, got.num_unknown, got.num_unlabeled) == (4, 0, 0)
  assert got.accuracy()["rank"] == {1: 0.25, 3: 0.75}


def test_unknown_classes_are_wrong_and_unlabelled_queries_do_not_count():
  known = np.array([True, False, True])
  got = table([7, 1, 0, -1], known=known)
  # Class 7 has no name here, class 1 no rows; the unlabelled query's neighbors
  # have no label either, which does not make it right.
  assert (got.total, got.num_unknown, got.num_unlabeled) == (3, 2, 1)
  np.testing.assert_array_equal(got.correct[0], [1, 2])
  assert table([7, 1, 0, -1]).num_unknown == 1


def test_batches_merge_exactly():
  rng = np.random.default_rng(0)
  near_labels = rng.integers(0, 3, (50, 3))
  labels = rng.integers(-1, 4, 50)
  whole = table(labels, near_labels)
  parts = [
    table(labels[s], near_labels[s])
    for s in (slice(0, 7), slice(7, 7), slice(7, 50))
  ]
  merged = parts[0].merge(parts[1]).merge(parts[2])
  np.testing.assert_array_equal(merged.correct, whole.correct)
  assert merged.accuracy() == whole.accuracy()
  assert (merged.total, merged.num_unknown, merged.num_unlabeled) == (
    np.sum(labels >= 0),
    np.sum(labels == 3),
    np.sum(labels == -1),
  )


def test_per_class_counts_and_confusion():
  predictions = np.array([0, 1, 1, -1, 2, 0, 0])
  labels = np.array([0, 0, 1, 1, 5, -1, 0])
  right, total = metrics.count_per_class(predictions, labels, num_classes=3)
  np.testing.assert_array_equal(right, [2, 1, 0])
  np.testing.assert_array_equal(total, [3, 2, 0])
  confusion = metrics.confusion_matrix(predictions, labels, num_classes=3)
  np.testing.assert_array_equal(confusion, [[2, 1, 0], [0, 1, 0], [0, 0, 0]])
  assert metrics.count_correct(predictions, labels) == 3
  np.testing.assert_array_equal(
    metrics.count_correct(np.stack([predictions, labels]), labels), [3, 6]
  )


def test_bad_input_is_named():
  with pytest.raises(ValueError, match="3 labels for 4 queries"):
    table([0, 1, 2])
  with pytest.raises(ValueError, match="Query 2 has label -3"):
    table([0, 1, -3, 1])
  with pytest.raises(ValueError, match="No query has a label"):
    table([-1] * 4).accuracy()
  with pytest.raises(ValueError, match="cannot be merged"):
    first = table([0, 1, 2, 0])
    other = metrics.accuracy_table(
      neighbors(NEAR_LABELS),
      np.array([0, 1, 2, 0]),
      settings=weighting.published_settings(),
      ks=(1, 2),
      num_classes=3,
    )
    first.merge(other)


def test_accuracy_is_of_labelled_queries():
  labels = np.array([0, 1, -1, 2])
  assert metrics.accuracy(np.array([0, 0, -1, 2]), labels) == 2 / 3
  assert metrics.accuracy(np.array([0]), np.array([-1])) is None


FORMULAS = {
  "plurality": lambda s, top, i: 1.0,
  "distance": lambda s, top, i, exponent: math.exp(-exponent * (1 - s)),
  "softmax": lambda s, top, i, temperature: math.exp((s - top) / temperature),
  "rank": lambda s, top, i, offset: 1 / (offset + i),
}
SETTINGS = [
  setting("plurality"),
  setting("distance", exponent=3.0),
  setting("softmax"),
  setting("softmax", temperature=0.0005),  # Weights that underflow.
  setting("rank"),
]


def cases(num_queries, k, num_classes, *, unlabeled, seed=0):
  """Few classes and few distinct similarities: ties everywhere."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, num_classes, (num_queries, k))
  labels[rng.random(labels.shape) < unlabeled] = UNLABELED
  steps = rng.integers(0, 5, labels.shape)
  return Neighbors(
    ids=labels.astype(str).astype(object),
    indices=labels.astype(np.int32),
    labels=labels.astype(np.int32),
    similarities=-np.sort(-(0.5 + 0.1 * steps), axis=1).astype(np.float32),
  )


def loop_vote(labels, similarities, factors, chosen):
  formula, top = FORMULAS[chosen.voter], float(similarities[0])
  sums, leader = {}, UNLABELED
  for i, label in enumerate(labels.tolist()):
    if label == UNLABELED:
      continue
    weight = formula(float(similarities[i]), top, i, **chosen.hyper)
    sums[label] = sums.get(label, 0.0) + weight * float(factors[i])
    if leader == UNLABELED or sums[label] > sums[leader]:
      leader = label
  return leader


def expected(near, chosen, k, factors):
  out = np.empty((len(near), k), np.int32)
  for query in range(len(near)):
    for gone in range(k):
      left = [i for i in range(k + 1) if i != gone]
      out[query, gone] = loop_vote(
        near.labels[query, left],
        near.similarities[query, left],
        factors[query, left],
        chosen,
      )
  return out


@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
@pytest.mark.parametrize("num_classes", [4, 40])
def test_equals_a_loop_that_starts_over(chosen, num_classes):
  k = 9
  near = cases(400, k + 3, num_classes, unlabeled=0.15)
  np.testing.assert_array_equal(
    predict_without_each(near, chosen, k=k, num_classes=num_classes),
    expected(near, chosen, k, np.ones(near.labels.shape)),
  )


@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
def test_reliability_factors_count(chosen):
  near = cases(200, 10, 4, unlabeled=0.0, seed=1)
  factors = np.random.default_rng(2).choice([0.0, 0.5, 1.0], near.labels.shape)
  np.testing.assert_array_equal(
    predict_without_each(near, chosen, k=9, num_classes=4, factors=factors),
    expected(near, chosen, 9, factors),
  )


def test_one_voter_is_replaced_by_the_next():
  near = cases(50, 2, 4, unlabeled=0.0)
  without = predict_without_each(near, setting("rank"), k=1, num_classes=4)
  np.testing.assert_array_equal(without[:, 0], near.labels[:, 1])


def test_nobody_votes_where_no_neighbor_has_a_label():
  near = cases(5, 4, 3, unlabeled=1.0)
  for num_classes in (1, 3, 30):
    without = predict_without_each(
      near, setting("rank"), k=3, num_classes=num_classes
    )
    assert (without == UNLABELED).all()


def test_another_number_of_queries_compiles_nothing():
  call = lambda count: predict_without_each(
    cases(count, 10, 4, unlabeled=0.0), setting("rank"), k=9, num_classes=4
  )
  call(300)
  with memory_cases.counted_compilations() as compilations:
    call(301)
    call(70)
  assert not compilations


def test_the_neighbor_that_moves_in_is_needed():
  near = cases(5, 9, 4, unlabeled=0.0)
  with pytest.raises(ValueError, match="search for k \\+ 1"):
    predict_without_each(near, setting("rank"), k=9, num_classes=4)


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


def test_a_bad_taxonomy_or_vote_is_named():
  asked, rows, labels, tree = make_case(0, np.full(len(PATHS), 2))
  with pytest.raises(ValueError, match="Row 1 has label 99"):
    hierarchy.descend(asked, rows[:2], np.array([0, 99]), tree)
  with pytest.raises(ValueError, match="no rows"):
    hierarchy.descend(asked, rows[:0], labels[:0], tree)
  with pytest.raises(ValueError, match="num_bins"):
    hierarchy.descend(asked, rows, labels, tree, num_bins=1)
