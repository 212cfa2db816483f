"""A memory that labels rows itself: the labels, the agreement, who joins."""

import dataclasses

import numpy as np
import pytest

import visual_memory as vm
from visual_memory.analysis import choosing
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.studies import unlabeled_growth
from visual_memory.types import UNLABELED
from visual_memory.voting import weighting

RANK = weighting.setting("rank")


@pytest.fixture(scope="module")
def rows():
  """40 labelled rows, a pool of 30 from the same clusters, its neighbors."""
  both = synthetic_embeddings(num_rows=70, dim=8, num_classes=3, seed=0,
                              spread=1.5)  # fmt: skip
  labeled, pool = both.take(range(40)), both.take(range(40, 70))
  memory = vm.VisualMemory.from_embedded(labeled)
  return labeled, pool, vm.search(pool.embeddings, memory, k=7)


def test_labels_and_agreement_equal_a_loop(rows):
  _, _, near = rows
  labels, agreement = unlabeled_growth.pseudo_labels(
    near, RANK, k=5, num_classes=3
  )
  for row in range(len(near)):
    say = np.zeros(3)
    for i in range(5):
      say[near.labels[row, i]] += 1 / (2 + i)
    assert labels[row] == say.argmax()
    assert agreement[row] == pytest.approx(say.max() / say.sum())
  nobody = dataclasses.replace(
    near, labels=np.full_like(near.labels, UNLABELED)
  )
  labels, agreement = unlabeled_growth.pseudo_labels(
    nobody, RANK, k=5, num_classes=3
  )
  assert (labels == UNLABELED).all() and (agreement == 0).all()


def test_only_rows_that_the_vote_agrees_on_join(rows):
  labeled, pool, near = rows
  choice = choosing.Choice(
    name="rank", setting=RANK, k=5, accuracy=0.0, num_queries=1
  )
  grown = lambda of: unlabeled_growth.memories(
    labeled, of, near, choice, agreements=(0.0, 0.7, 1.1), num_classes=3
  )
  found = grown(pool)
  labels, agreement = unlabeled_growth.pseudo_labels(
    near, RANK, k=5, num_classes=3
  )
  assert [one.num_added for one in found] == [
    0, 30, int((agreement >= 0.7).sum()), 0, 30,
  ]  # fmt: skip
  assert 0 < found[2].num_added < 30
  np.testing.assert_array_equal(found[1].rows.labels[40:], labels)
  assert found[1].label_accuracy == np.mean(labels == pool.labels)
  assert found[3].label_accuracy is None
  np.testing.assert_array_equal(found[-1].rows.labels[40:], pool.labels)
  # The pool's own labels change nothing but what is told about them.
  hidden = dataclasses.replace(pool, labels=(pool.labels + 1) % 3)
  for one, other in zip(found[:-1], grown(hidden)[:-1], strict=True):
    np.testing.assert_array_equal(one.rows.labels, other.rows.labels)
    np.testing.assert_array_equal(one.rows.ids, other.rows.ids)
