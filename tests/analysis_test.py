"""Intervals, diversity, new classes and discovery: by hand and by search."""

import memory_cases
import numpy as np
import pytest
from scipy import stats

from visual_memory import types
from visual_memory.analysis import choosing, diversity, intervals, lifelong
from visual_memory.analysis.discovery import (
  discovery_curve,
  first_per_class,
  most_exemplars,
)
from visual_memory.data import taxonomy
from visual_memory.memory.matching import match_classes
from visual_memory.memory.memory import VisualMemory
from visual_memory.reports import pictures
from visual_memory.retrieval import exact, reference
from visual_memory.voting import queries, weighting

PATHS = [(f"g{c // 2}", f"s{c}") for c in range(6)]
TREE = taxonomy.from_paths(PATHS)
EXEMPLARS = (0, 1, 2, 4)


def make_case(ties):
  rng = np.random.default_rng(0)
  labels = rng.permutation(np.repeat(np.arange(6), (5, 4, 6, 4, 5, 4)))
  asked = rng.integers(0, 6, 50)
  if ties:  # Many rows and queries are one and the same point.
    points = memory_cases.random_rows(6, 4)
    rows = points[rng.integers(0, 6, len(labels))]
    queries = points[rng.integers(0, 6, len(asked))]
  else:
    centers = memory_cases.random_rows(6, 8)
    noise = lambda count: 0.5 * memory_cases.random_rows(count, 8, seed=1)
    rows = memory_cases.unit(centers[labels] + noise(len(labels)))
    queries = memory_cases.unit(centers[asked] + noise(len(asked)))
  return queries, asked, rows, labels


@pytest.mark.parametrize("ties", [False, True])
def test_equals_searching_every_memory(ties):
  queries, asked, rows, labels = make_case(ties)
  curve = discovery_curve(
    queries, asked, rows, labels, TREE, exemplars=EXEMPLARS
  )
  assert (curve.num_redone > 10) == ties
  expected = np.empty((len(EXEMPLARS), len(asked), 2), bool)
  for row, m in enumerate(EXEMPLARS):
    for query, target in enumerate(asked):
      own = np.flatnonzero(labels == target)
      kept = np.setdiff1d(np.arange(len(labels)), own[m:])
      at, _ = reference.search(queries[query : query + 1], rows[kept], k=1)
      answer = labels[kept[at[0, 0]]]
      expected[row, query] = TREE.ancestors[answer] == TREE.ancestors[target]
  np.testing.assert_array_equal(curve.right, expected)
  by_class = [expected[:, asked == c].mean(axis=1) for c in np.unique(asked)]
  np.testing.assert_allclose(curve.accuracy, np.mean(by_class, axis=0))


def test_an_unseen_class_is_never_right_itself():
  queries, asked, rows, labels = make_case(False)
  curve = discovery_curve(queries, asked, rows, labels, TREE, exemplars=(0, 4))
  assert curve.accuracy[0, 1] == 0 < curve.accuracy[0, 0]
  assert (curve.accuracy[1] >= curve.accuracy[0]).all()
  np.testing.assert_allclose(curve.baseline, [1 / 3, 1 / 6])


def test_bad_input_is_named():
  queries, asked, rows, labels = make_case(False)
  call = lambda exemplars, labels=labels: discovery_curve(
    queries, asked, rows, labels, TREE, exemplars=exemplars
  )
  with pytest.raises(ValueError, match="5 exemplars.*class 1 .g0/s1. has 4"):
    call((5,))
  with pytest.raises(ValueError, match="negative"):
    call((-1,))
  with pytest.raises(ValueError, match="Row 0 has label 6"):
    call((0,), np.full(len(labels), 6))
  with pytest.raises(ValueError, match="two classes"):
    call((0,), np.zeros(len(labels), int))


def test_the_poorest_class_that_is_asked_about_tells_the_most_exemplars():
  queries, asked, rows, labels = make_case(False)  # Of 5, 4, 6, 4, 5, 4 rows.
  assert most_exemplars(np.array([0, 2]), labels) == 5
  assert most_exemplars(np.array([6]), labels) == 0
  assert most_exemplars(asked[:0], labels) == 0
  most = most_exemplars(asked, labels)
  discovery_curve(queries, asked, rows, labels, TREE, exemplars=(most,))
  with pytest.raises(ValueError, match="exemplars were asked for"):
    discovery_curve(queries, asked, rows, labels, TREE, exemplars=(most + 1,))


def test_the_first_rows_of_each_class_are_kept():
  labels = np.array([1, 0, 1, 1, 0, 2])
  mask = first_per_class(labels, 2)
  assert mask.tolist() == [True, True, True, False, True, True]
  assert first_per_class(labels, 0).all()


def test_paired_differences_count_and_test():
  ours = np.array([1, 1, 1, 0, 1, 1, 0])
  theirs = np.array([1, 0, 0, 1, 0, 1, 0])
  found = intervals.paired(ours, theirs, seed=0)
  assert (found.better, found.worse) == (3, 1)
  assert found.interval.mean == pytest.approx(2 / 7)
  assert found.interval.low < 2 / 7 < found.interval.high
  assert found.p_value == pytest.approx(stats.binomtest(3, 4).pvalue)
  assert set(found.values()) == {
    "mean", "low", "high", "coverage", "p_value", "better", "worse",
  }  # fmt: skip
  with pytest.raises(ValueError, match="7 and 6 queries"):
    intervals.paired(ours, theirs[1:], seed=0)


def test_over_seeds_is_students():
  values = [0.01, 0.03, -0.01, 0.02]
  found = intervals.over_seeds(values)
  theirs = stats.ttest_1samp(values, 0)
  assert found.p_value == pytest.approx(theirs.pvalue)
  span = theirs.confidence_interval(0.95)
  assert (found.interval.low, found.interval.high) == pytest.approx(tuple(span))
  assert intervals.over_seeds([0.1]) is None
  assert intervals.over_seeds([0.0, 0.0]).p_value == 1


def test_exact_shares_at_the_ends():
  none, every = intervals.exact_share(0, 5), intervals.exact_share(5, 5)
  assert none.low == 0 and every.high == 1
  assert none.high == pytest.approx(1 - 0.025 ** (1 / 5))
  with pytest.raises(ValueError, match="6 of 5"):
    intervals.exact_share(6, 5)


def test_known_vendi_scores():
  alike = np.ones((6, 4), np.float32) / 2
  assert diversity.vendi_score(alike) == pytest.approx(1.0, abs=1e-5)
  apart = np.eye(6, 9, dtype=np.float32)
  assert diversity.vendi_score(apart) == pytest.approx(6.0, abs=1e-5)
  # Two groups of alike rows, whichever of both sides is larger.
  groups = np.repeat(np.eye(2, 9, dtype=np.float32), 3, 0)
  assert diversity.vendi_score(groups) == pytest.approx(2.0, abs=1e-5)
  assert diversity.vendi_score(groups[:, :2]) == pytest.approx(2.0, abs=1e-5)


def test_spread_is_the_mean_over_pairs():
  rows = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
  rows = diversity.centered(rows)
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
  pairs = [1 - rows[i] @ rows[j] for i in range(7) for j in range(7) if i != j]
  assert diversity.spread(rows) == pytest.approx(np.mean(pairs), abs=1e-6)


def test_contact_sheets_are_in_reading_order():
  images = np.arange(6, dtype=np.uint8)[:, None, None, None]
  images = np.broadcast_to(images, (6, 2, 2, 3))
  sheet = pictures.contact_sheet(images, columns=3)
  assert sheet.shape == (4, 6, 3)
  np.testing.assert_array_equal(sheet[::2, ::2, 0], [[0, 1, 2], [3, 4, 5]])
  with pytest.raises(ValueError, match="leave out 2"):
    pictures.contact_sheet(images, columns=4)


def test_edges_see_shapes_and_not_colors():
  """Each cell of a picture of vertical stripes votes for one orientation."""
  line = np.where(np.arange(32) // 4 % 2, 200, 40).astype(np.uint8)
  across = np.broadcast_to(line[None, :, None], (32, 32, 3))
  dim = across // 2 + 10
  images = np.stack([across, across.swapaxes(0, 1), dim, np.zeros_like(dim)])
  rows = diversity.edge_rows(images)
  assert rows.shape == (4, 9 * 9 * 4) and rows.dtype == np.float32
  used = (rows[:2].reshape(2, -1, 9) > 1e-6).sum(-1)
  np.testing.assert_array_equal(used, 1)
  assert rows[0] @ rows[2] == pytest.approx(1.0, abs=1e-3)
  assert rows[0] @ rows[1] == pytest.approx(0.0, abs=1e-6)
  assert not rows[3].any()
  with pytest.raises(ValueError, match="16 x 16"):
    diversity.edge_rows(images[:, :8, :8])


def rows(labels, class_names, prefix, seed):
  labels = np.asarray(labels)
  return types.embedded_set(
    memory_cases.random_rows(len(labels), 8, seed=seed),
    labels,
    [f"{prefix}{i}" for i in range(len(labels))],
    class_names=class_names,
    fingerprint="encoder",
  )


OLD = rows([0, 1, 0, 1, 0], ("ant", "bee", "cat"), "old", 0)


def join(added, **options):
  return lifelong.joined(
    OLD.class_names, OLD.labels, added, ids=OLD.ids, **options
  )


def test_a_known_class_is_refused():
  with pytest.raises(ValueError, match="1 of the new classes.*'bee'"):
    join(rows([0, 1], ("bee", "dog"), "new", 1))
  # A name without rows is not known: on either side.
  join(rows([0, 1], ("cat", "dog"), "new", 1))
  join(rows([1, 1], ("bee", "dog"), "new", 1))


def test_a_known_row_is_refused():
  with pytest.raises(ValueError, match="1 new rows.*'old0'"):
    join(rows([0], ("dog",), "old", 1))


def test_labels_stay_apart_unless_merged_as_published():
  added = rows([0, 1], ("dog", "eel"), "new", 1)
  memory = VisualMemory.from_embedded(OLD).add(join(added))
  assert memory.class_names == ("ant", "bee", "cat", "dog", "eel")
  assert memory.embedded().labels.tolist() == [0, 1, 0, 1, 0, 3, 4]
  merged = join(added, merged_as_published=True)
  memory = VisualMemory.from_embedded(OLD).add(merged)
  assert memory.embedded().labels.tolist() == [0, 1, 0, 1, 0, 0, 1]
  many = rows(range(4), tuple("wxyz"), "new", 1)
  with pytest.raises(ValueError, match="Label 3.*3 classes"):
    join(many, merged_as_published=True)


def test_scores_are_those_of_the_votes():
  added = rows([0] * 6, ("dog",), "new", 3)
  memory = VisualMemory.from_embedded(OLD).add(join(added))
  asked = rows([0, 1, 2, 0, 1, 2], ("ant", "bee", "dog"), "query", 4)
  class_names, labels = match_classes(memory.class_names, asked)
  near = exact.search(asked.embeddings, memory, k=4)
  setting = weighting.setting("plurality")
  choice = choosing.Choice(
    name="plurality", setting=setting, k=3, accuracy=1.0, num_queries=1
  )
  found = lifelong.scored(
    queries.held_out_queries(near, labels, asked.ids),
    memory="both", queries="all", choices={"plurality": choice},
    published={"plurality": setting}, ks=(1, 3), num_classes=len(class_names),
    seed=0,
  )  # fmt: skip
  nearest = np.mean(near.labels[:, 0] == labels)
  majority = []
  for row in near.labels[:, :3].tolist():
    order = sorted(row, key=lambda x: (-row.count(x), row.index(x)))
    majority.append(order[0])
  by_three = np.mean(majority == labels)
  assert found.nearest == pytest.approx(nearest)
  assert found.chosen["plurality"].accuracy.mean == pytest.approx(by_three)
  assert found.as_published["plurality"][1] == pytest.approx(
    max(nearest, by_three)
  )
