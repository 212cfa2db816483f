"""The vote without each neighbor, against a plain loop that starts over."""

import math

import memory_cases
import numpy as np
import pytest

from visual_memory.types import UNLABELED, Neighbors
from visual_memory.voting.removal import predict_without_each
from visual_memory.voting.weighting import setting

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
