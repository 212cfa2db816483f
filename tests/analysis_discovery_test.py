"""Discovery curves against one memory after the other, searched."""

import memory_cases
import numpy as np
import pytest

from visual_memory.analysis.discovery import (
  discovery_curve,
  first_per_class,
  most_exemplars,
)
from visual_memory.data import taxonomy
from visual_memory.retrieval import reference

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
