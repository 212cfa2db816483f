"""Counts by hand, and that they merge."""

import numpy as np
import pytest

from visual_memory.types import Neighbors
from visual_memory.voting import metrics, weighting

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
