"""The published vote, against its rules restated as one literal loop."""

import math

import numpy as np
import pytest

from visual_memory.types import Neighbors
from visual_memory.voting import compat
from visual_memory.voting.vote import vote

NUM_NEIGHBORS = 16
ALL_KS = range(1, NUM_NEIGHBORS + 1)

VOTERS = {
  "plurality": {},
  "distance": {"exponent": 2.5},
  "softmax": {"temperature": 0.07},
  "rank": {"offset": 2.0},
}


def literal_weight(voter, hyper, distance, rank):
  """The published weight, on Python floats."""
  if voter == "plurality":
    return 1.0
  if voter == "distance":
    return math.exp(-distance) ** hyper["exponent"]
  if voter == "softmax":
    return math.exp((1 - distance) / hyper["temperature"])
  return 1 / (rank + hyper["offset"])


def literal_vote(
  labels, distances, excluded, factors, *, voter, hyper, first=False
):
  """One query's published predictions, rule by rule."""
  if all(excluded):
    excluded = [False] * len(labels)
  sums, order, winner, best, rank, predictions = {}, [], None, 0.0, 0, []
  for label, skip in zip(labels, excluded, strict=True):
    if not skip:
      # The lists still hold the excluded neighbors: the entry is the wrong
      # one as soon as somebody was skipped.
      weight = literal_weight(voter, hyper, distances[rank], rank)
      weight *= factors[rank]
      sums[label] = sums.get(label, 0.0) + weight
      if label not in order:
        order.append(label)
      earlier = (
        first
        and sums[label] == best
        and (order.index(label) < order.index(winner))
      )
      if sums[label] > best or earlier:
        winner, best = label, sums[label]
      rank += 1
    predictions.append(winner if winner else labels[0])
  return predictions


def cases(seed=0, num_queries=1000, fraction=0.4):
  """Labels, distances, exclusions and factors, with ties everywhere.

  Each fifth query has a class 0 majority, each seventh is wholly excluded.
  """
  rng = np.random.default_rng(seed)
  shape = (num_queries, NUM_NEIGHBORS)
  labels = rng.integers(0, 4, shape)
  labels[::5] *= rng.integers(0, 2, shape)[::5]
  distances = np.sort(rng.integers(0, 6, shape) * 0.125, axis=1)
  excluded = rng.random(shape) < fraction
  excluded[::7] = True
  factors = rng.choice([1.0, 0.875, 0.25], shape)
  return labels, distances, excluded, factors


def expected(labels, distances, excluded, factors, **kwargs):
  rows = zip(labels, distances, excluded, factors, strict=True)
  return np.transpose(
    [literal_vote(*(x.tolist() for x in row), **kwargs) for row in rows]
  )


def call(labels, distances, voter, **kwargs):
  kwargs = {"ks": ALL_KS, "num_classes": 4} | VOTERS[voter] | kwargs
  return compat.predict(labels, distances, voter=voter, **kwargs)


@pytest.mark.parametrize("ties", ["reached", "first"])
@pytest.mark.parametrize("voter", list(VOTERS))
def test_equals_the_published_rules(voter, ties):
  labels, distances, excluded, factors = cases()
  np.testing.assert_array_equal(
    call(
      labels, distances, voter, excluded=excluded, factors=factors, ties=ties
    ),
    expected(
      labels,
      distances,
      excluded,
      factors,
      voter=voter,
      hyper=VOTERS[voter],
      first=ties == "first",
    ),
  )


@pytest.mark.parametrize("voter", list(VOTERS))
def test_without_exclusion_only_class_zero_differs_from_vote(voter):
  labels, distances, _, _ = cases()
  labels = labels.astype(np.int32)
  # Eighths are exact in float32: similarity and distance say the same.
  near = Neighbors(
    ids=labels.astype(str).astype(object),
    indices=labels,
    labels=labels,
    similarities=(1 - distances).astype(np.float32),
  )
  votes = vote(near, voter=voter, ks=ALL_KS, num_classes=4, **VOTERS[voter])
  clean = votes.predictions
  np.testing.assert_array_equal(
    call(labels, distances, voter, class_zero_bug=False), clean
  )
  published = call(labels, distances, voter)
  np.testing.assert_array_equal(
    published, np.where(clean == 0, labels[:, 0][None], clean)
  )
  assert np.mean(published != clean) > 0.01


def test_the_index_bug_matters_to_distances_alone():
  labels, distances, excluded, _ = cases()
  for voter in VOTERS:
    with_bug, without = (
      call(labels, distances, voter, excluded=excluded, index_bug=bug)
      for bug in (True, False)
    )
    assert (with_bug != without).any() == (voter in ("distance", "softmax"))


@pytest.mark.parametrize("voter", list(VOTERS))
def test_without_bugs_the_excluded_might_as_well_not_be_there(voter):
  labels, distances, excluded, factors = cases(fraction=0.3)
  got = call(
    labels,
    distances,
    voter,
    excluded=excluded,
    factors=factors,
    index_bug=False,
    class_zero_bug=False,
  )
  for query in (1, 2, 3, 4, 5, 6, 8):
    stay = ~excluded[query]
    alone = call(
      labels[None, query, stay],
      distances[None, query, stay],
      voter,
      factors=factors[None, query, stay],
      ks=[int(stay.sum())],
      class_zero_bug=False,
    )
    assert got[-1, query] == alone[0, 0]


@pytest.mark.parametrize(
  ("labels", "excluded", "kwargs", "predictions"),
  [
    ([1, 2, 2, 1], None, {}, [1, 1, 2, 2]),
    # The rule of the documentation gives the tie to the nearer class.
    ([1, 2, 2, 1], None, {"ties": "first"}, [1, 1, 2, 1]),
    # Class 0 leads from the second vote on, and the nearest is predicted.
    ([3, 0, 0, 0], None, {}, [3, 3, 3, 3]),
    ([3, 0, 0, 0], None, {"class_zero_bug": False}, [3, 3, 0, 0]),
    # The excluded nearest neighbor is predicted until somebody votes.
    ([3, 1, 2, 2], [1, 1, 0, 0], {}, [3, 3, 2, 2]),
    # All excluded: none excluded.
    ([3, 1, 1, 2], [1, 1, 1, 1], {}, [3, 3, 1, 1]),
    # Ranks close up: 2 has 1/2, and 3 has 1/3 + 1/4 (not 1/4 + 1/5).
    ([1, 2, 3, 3], [1, 0, 0, 0], {"voter": "rank"}, [1, 2, 2, 3]),
    # The factor of the excluded neighbor is taken for that of the next one.
    (
      [1, 2, 3, 3],
      [1, 0, 0, 0],
      {"factors": np.array([[0.5, 1.0, 1.0, 1.0]])},
      [1, 2, 3, 3],
    ),
    (
      [1, 2, 3, 3],
      [1, 0, 0, 0],
      {"factors": np.array([[0.5, 1.0, 1.0, 1.0]]), "index_bug": False},
      [1, 2, 2, 3],
    ),
  ],
)
def test_worked_examples(labels, excluded, kwargs, predictions):
  excluded = None if excluded is None else np.array([excluded], bool)
  kwargs = {"voter": "plurality"} | kwargs
  got = compat.predict(
    np.array([labels]),
    np.array([[0.0, 0.25, 0.5, 0.75]]),
    ks=range(1, 5),
    num_classes=4,
    excluded=excluded,
    **kwargs,
  )
  assert got[:, 0].tolist() == predictions


def test_only_the_ks_asked_for():
  labels, distances, _, _ = cases(num_queries=9)
  np.testing.assert_array_equal(
    call(labels, distances, "rank", ks=(9, 2)),
    call(labels, distances, "rank")[[8, 1]],
  )


def test_min_max_spans_all_queries():
  got = compat.min_max(np.array([[0.2, 0.4], [0.3, 0.7]]))
  np.testing.assert_allclose(got, [[0, 0.4], [0.2, 1]], rtol=1e-15)
  with pytest.raises(ValueError, match="All distances are 0.5"):
    compat.min_max(np.full((2, 2), 0.5))


@pytest.mark.parametrize(
  ("labels", "distances", "kwargs", "message"),
  [
    ([0, -1], [0.1, 0.2], {}, "Neighbor 1 of query 0 has no label"),
    ([0, 4], [0.1, 0.2], {}, "label 4"),
    ([0, 1], [0.1, 0.2], {"ks": (3,)}, "k = 3"),
    ([0, 1], [0.1, 0.2], {"ties": "last"}, "Unknown ties 'last'"),
    ([0, 1], [0.1, math.inf], {}, "distances of query 0 hold inf"),
    ([0, 1], [0.1, 0.2], {"voter": "rank", "offset": 0.05}, "below 0.1"),
    ([0, 1], [0.1, 1.2], {"voter": "softmax"}, "Neighbor 1 .* 1.2"),
    ([0, 1], [0.2, 0.1], {"voter": "softmax"}, "Neighbor 0 .* nearest first"),
    (
      [0, 1],
      [0.1, 0.2],
      {"voter": "softmax", "temperature": 0.001},
      "temperature = 0.001 is below 0.00143",
    ),
  ],
)
def test_bad_input_is_named(labels, distances, kwargs, message):
  kwargs = {"voter": "plurality", "ks": (1,), "num_classes": 4} | kwargs
  with pytest.raises(ValueError, match=message):
    compat.predict(np.array([labels]), np.array([distances]), **kwargs)
