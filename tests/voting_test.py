"""Every voter against a plain loop, and the rules that all of them keep."""

import math

import jax
import numpy as np
import pytest

from visual_memory.types import UNLABELED, Neighbors
from visual_memory.voting import weighting
from visual_memory.voting.vote import predict, vote
from visual_memory.voting.weighting import setting

NUM_NEIGHBORS = 24
NUM_CLASSES = 6
ALL_KS = range(1, NUM_NEIGHBORS + 1)

SETTINGS = {
  "plurality": setting("plurality"),
  "distance": setting("distance"),
  "distance, exponent 20": setting("distance", exponent=20.0),
  "softmax": setting("softmax"),
  "softmax, temperature 0.005": setting("softmax", temperature=0.005),
  "rank": setting("rank"),
  "rank, offset 1": setting("rank", offset=1.0),
}

# One neighbor's weight by hand: similarity, the nearest's, rank from 0.
FORMULAS = {
  "plurality": lambda s, top, i: 1.0,
  "distance": lambda s, top, i, exponent: math.exp(-exponent * (1 - s)),
  "softmax": lambda s, top, i, temperature: math.exp((s - top) / temperature),
  "rank": lambda s, top, i, offset: 1 / (offset + i),
}


@pytest.fixture(params=list(SETTINGS))
def chosen(request):
  return SETTINGS[request.param]


def neighbors(labels, similarities=None):
  labels = np.asarray(labels, np.int32)
  if similarities is None:
    similarities = np.broadcast_to(
      np.linspace(0.9, 0.1, labels.shape[1], dtype=np.float32), labels.shape
    )
  return Neighbors(
    ids=labels.astype(str).astype(object),
    indices=labels,
    labels=labels,
    similarities=np.asarray(similarities, np.float32),
  )


def cases(seed=0, num_queries=1000, unlabeled=0.1):
  """Few classes and few distinct similarities: ties everywhere."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, NUM_CLASSES, (num_queries, NUM_NEIGHBORS))
  labels[rng.random(labels.shape) < unlabeled] = UNLABELED
  steps = rng.integers(0, 5, labels.shape)
  return neighbors(labels, -np.sort(-(0.5 + 0.1 * steps), axis=1))


def loop_weights(similarities, chosen):
  top = float(similarities[0])
  formula = FORMULAS[chosen.voter]
  return [
    formula(float(s), top, i, **chosen.hyper)
    for i, s in enumerate(similarities)
  ]


def loop_vote(labels, weights):
  """The rule, one obvious line at a time: a prediction for every k."""
  sums, leader, predictions = {}, UNLABELED, []
  for label, weight in zip(labels.tolist(), weights, strict=True):
    if label != UNLABELED:
      sums[label] = sums.get(label, 0.0) + weight
      if leader == UNLABELED or sums[label] > sums[leader]:
        leader = label
    predictions.append(leader)
  return predictions


def call(near, chosen, ks=ALL_KS, **kwargs):
  kwargs = {"num_classes": NUM_CLASSES} | kwargs
  return vote(near, voter=chosen.voter, ks=ks, **kwargs, **chosen.hyper)


@pytest.mark.parametrize("unlabeled", [0.0, 0.1, 0.9])
def test_equals_a_plain_loop_ties_included(chosen, unlabeled):
  near = cases(unlabeled=unlabeled)
  expected = [
    loop_vote(labels, loop_weights(similarities, chosen))
    for labels, similarities in zip(near.labels, near.similarities, strict=True)
  ]
  np.testing.assert_array_equal(
    call(near, chosen).predictions, np.transpose(expected)
  )


def test_weights_equal_the_formulas(chosen):
  near = cases(num_queries=50)
  weights = weighting.weights(near.similarities, chosen)
  expected = [loop_weights(s, chosen) for s in near.similarities]
  assert weights.dtype == np.float64
  if chosen.voter in ("plurality", "rank"):
    np.testing.assert_array_equal(weights, expected)
  else:
    # Two exponentials, each right to about an ulp times its argument's error:
    # arguments reach 80 here, and are off by one ulp each.
    np.testing.assert_allclose(weights, expected, rtol=100 * 2.3e-16)


def test_class_scores_are_sums_in_order(chosen):
  near, ks = cases(num_queries=300), (7, 1, 24, 7)
  weights = weighting.weights(near.similarities, chosen)
  votes = call(near, chosen, ks=ks)
  assert votes.class_scores.dtype == np.float32
  assert votes.class_scores.shape == (4, 300, NUM_CLASSES)
  for k, scores in zip(ks, votes.class_scores, strict=True):
    for labels, weight, row in zip(near.labels, weights, scores, strict=True):
      who = np.flatnonzero(labels[:k] != UNLABELED)
      sums = np.bincount(labels[who], weight[who], minlength=NUM_CLASSES)
      np.testing.assert_array_equal(row, sums.astype(np.float32))


def test_the_prediction_has_the_largest_score(chosen):
  near = cases(unlabeled=0.0)
  votes = call(near, chosen, ks=(1, 10, 24))
  chosen_scores = np.take_along_axis(
    votes.class_scores, votes.predictions[..., None], axis=2
  )[..., 0]
  np.testing.assert_array_equal(chosen_scores, votes.class_scores.max(axis=2))


def test_one_neighbor_decides_alone(chosen):
  near = cases()
  np.testing.assert_array_equal(
    call(near, chosen, ks=(1,)).predictions[0], near.labels[:, 0]
  )


def test_k_neighbors_vote_as_if_there_were_no_others(chosen):
  near = cases(num_queries=300)
  first = neighbors(near.labels[:, :9], near.similarities[:, :9])
  np.testing.assert_array_equal(
    call(near, chosen, ks=(3, 9)).predictions,
    call(first, chosen, ks=(3, 9)).predictions,
  )


def test_classes_are_only_names(chosen):
  near = cases()
  renamed = np.append(np.random.default_rng(1).permutation(NUM_CLASSES), -1)
  other = neighbors(renamed[near.labels], near.similarities)
  np.testing.assert_array_equal(
    renamed[call(near, chosen).predictions], call(other, chosen).predictions
  )


def test_queries_do_not_influence_each_other(chosen):
  near = cases(num_queries=600)  # Several tiles, the last one padded.
  together = call(near, chosen)
  alone = call(near.take([0, 255, 256, 599]), chosen)
  at = [0, 255, 256, 599]
  np.testing.assert_array_equal(alone.predictions, together.predictions[:, at])
  np.testing.assert_array_equal(
    alone.class_scores, together.class_scores[:, at]
  )


@pytest.mark.parametrize("name", ["plurality", "distance", "softmax"])
def test_order_among_equals_changes_no_sum(name):
  """Voters by similarity: only ties may fall differently, only within runs."""
  near, chosen = cases(), SETTINGS[name]
  order = np.lexsort(
    (np.random.default_rng(2).random(near.labels.shape), -near.similarities)
  )
  shuffled = neighbors(
    np.take_along_axis(near.labels, order, axis=1), near.similarities
  )
  before, after = call(near, chosen), call(shuffled, chosen)
  ends = np.ones(near.labels.shape, bool)
  ends[:, :-1] = near.similarities[:, 1:] < near.similarities[:, :-1]
  ends = ends.T
  scores = before.class_scores[ends]
  np.testing.assert_array_equal(scores, after.class_scores[ends])
  unique = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) == 1
  assert 0.5 < unique.mean() < 1
  np.testing.assert_array_equal(
    before.predictions[ends][unique], after.predictions[ends][unique]
  )


@pytest.mark.parametrize(
  ("labels", "voter", "expected"),
  [
    # Class 2 reaches two votes first and keeps the lead in the tie at k = 4.
    ([1, 2, 2, 1], "plurality", [1, 1, 2, 2]),
    # Class 0 is a class like any other.
    ([1, 0, 0], "plurality", [1, 1, 0]),
    # 1/2 against 1/3 + 1/6: an exact tie, which the first to get there wins.
    ([1, 2, 3, 3, 2], "rank", [1, 1, 1, 1, 1]),
    # ... and against 1/3 + 1/4.
    ([1, 2, 2], "rank", [1, 1, 2]),
    # Those without a label keep their rank, but have no vote.
    ([-1, 4, -1, 2, 2, 2], "plurality", [-1, 4, 4, 4, 2, 2]),
    ([-1, 4, 2, 2], "rank", [-1, 4, 4, 2]),
    ([-1, -1], "softmax", [-1, -1]),
  ],
)
def test_worked_examples(labels, voter, expected):
  votes = vote(
    neighbors([labels]),
    voter=voter,
    ks=range(1, len(labels) + 1),
    num_classes=5,
  )
  assert votes.predictions[:, 0].tolist() == expected


def test_tiny_temperature_neither_overflows_nor_loses_the_vote():
  near = neighbors([[-1, 3, 2, 2]], [[0.9, 0.3, 0.2, 0.2]])
  votes = vote(
    near, voter="softmax", temperature=1e-4, ks=range(1, 5), num_classes=5
  )
  # Next to the unlabelled one all weights underflow: the nearest decides.
  assert votes.predictions[:, 0].tolist() == [-1, 3, 3, 3]
  assert np.isfinite(votes.class_scores).all()


def test_factors_multiply_the_weights(chosen):
  near = cases()
  factors = np.random.default_rng(3).choice([0.5, 1.0, 0.0], near.labels.shape)
  weights = weighting.weights(near.similarities, chosen) * factors
  expected = np.transpose(
    [loop_vote(*pair) for pair in zip(near.labels, weights, strict=True)]
  )
  votes = call(near, chosen, factors=factors)
  np.testing.assert_array_equal(votes.predictions, expected)
  total = np.where(near.labels != UNLABELED, weights, 0).sum(axis=1)
  np.testing.assert_allclose(
    votes.class_scores[-1].sum(axis=1), total, rtol=NUM_CLASSES * 1.2e-7
  )


def test_all_settings_in_one_pass():
  near = cases()
  together = predict(
    near, list(SETTINGS.values()), ks=(5, 1), num_classes=NUM_CLASSES
  )
  assert together.dtype == np.int32
  for predictions, chosen in zip(together, SETTINGS.values(), strict=True):
    np.testing.assert_array_equal(
      predictions, call(near, chosen, ks=(5, 1)).predictions
    )


def test_no_queries():
  nobody = np.zeros(1000, bool)
  votes = vote(cases().take(nobody), ks=(1, 2), num_classes=NUM_CLASSES)
  assert votes.predictions.shape == (2, 0)
  assert votes.class_scores.shape == (2, 0, NUM_CLASSES)


@pytest.fixture
def compilations():
  """The compilations since the start of the test, as a growing list."""
  events = []

  def listen(event, duration, **kwargs):
    if event == "/jax/core/compile/backend_compile_duration":
      events.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield events
  jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("voter", list(weighting.VOTERS))
def test_compiles_once(voter, compilations):
  jax.clear_caches()

  def run(near, **hyper):
    votes = vote(near, voter=voter, ks=(2, 21), num_classes=7, **hyper)
    return votes.predictions, votes.class_scores

  run(cases(seed=5))
  assert compilations
  compilations.clear()
  run(cases(seed=6))
  for name in weighting.VOTERS[voter].hypers:
    run(cases(seed=6), **{name: 3.0})
    run(cases(seed=6), **{name: 4})
  assert not compilations
  # Predictions compile once for any number of queries and any ks up to 21.
  vote(cases(num_queries=77), voter=voter, ks=(21, 4), num_classes=9)
  assert not compilations


def test_float64_stays_inside():
  vote(cases(num_queries=3), ks=(1,), num_classes=NUM_CLASSES)
  assert jax.numpy.ones(1).dtype == np.float32


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    (
      {"voter": "majority"},
      "the voters are plurality, distance, softmax, rank",
    ),
    ({"alpha": 1.0}, "no hyper-parameter 'alpha'; it takes offset"),
    ({"voter": "plurality", "offset": 1.0}, "it takes none"),
    ({"offset": 0.0}, "offset = 0.0 .* must be finite and above 0"),
    ({"voter": "distance", "exponent": -1.0}, "finite and at least 0"),
    ({"voter": "softmax", "temperature": math.nan}, "temperature = nan"),
    ({"ks": (1, 0)}, "k = 0, but each query has 24 neighbors"),
    ({"ks": (25,)}, "k = 25"),
    ({"ks": ()}, "ks is empty"),
    ({"num_classes": 5}, "Neighbor 3 of query 2 has label 5, .* = 4"),
    ({"factors": -np.ones((4, 24))}, "factors of query 0 are negative"),
    ({"factors": np.ones((4, 23))}, r"factors .*\(4, 23\).*\(4, 24\)"),
    ({"factors": np.full((4, 24), np.inf)}, "factors of query 0 hold inf"),
  ],
)
def test_bad_input_is_named(kwargs, message):
  near = neighbors(np.arange(4)[:, None] + np.zeros((1, 24), np.int32))
  near.labels[2, 3] = 5
  kwargs = {"ks": (1,), "num_classes": NUM_CLASSES} | kwargs
  with pytest.raises(ValueError, match=message):
    vote(near, **kwargs)


def test_broken_neighbors_are_named():
  near = cases(num_queries=4)
  near.similarities[3, 2] = np.nan
  with pytest.raises(ValueError, match="query 3 hold nan at neighbor 2"):
    vote(near, ks=(1,), num_classes=NUM_CLASSES)
  near = neighbors([[0, -2]])
  with pytest.raises(ValueError, match="Neighbor 1 of query 0 has label -2"):
    vote(near, ks=(1,), num_classes=NUM_CLASSES)
