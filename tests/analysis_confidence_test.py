"""Shares, probabilities, calibration and abstention, against plain loops."""

import collections
import math

import numpy as np
import pytest
from analysis_selection_test import NUM_CLASSES, K, cases, neighbors
from sklearn import calibration as sklearn_calibration
from sklearn import metrics as sklearn_metrics

from visual_memory.analysis import calibration, confidence
from visual_memory.analysis import probabilities as probabilities_lib
from visual_memory.voting import queries as queries_lib
from visual_memory.voting import shares as shares_lib
from visual_memory.voting import weighting
from visual_memory.voting.shares import shares
from visual_memory.voting.weighting import published_settings, setting


@pytest.fixture(scope="module")
def asked():
  held_out = queries_lib.held_out_queries(*cases(500, 3, "test"))
  tuning = queries_lib.tuning_queries(*cases(400, 4, "tune"), held_out=held_out)
  return held_out, tuning


def dense(probability):
  """All classes' probabilities, [Q, C]."""
  table = np.repeat(
    np.asarray(probability.rest)[:, None], probability.num_classes, axis=1
  )
  for q, (labels, values) in enumerate(
    zip(probability.labels, probability.values, strict=True)
  ):
    for label, value in zip(labels, values, strict=True):
      if value > 0:
        table[q, label] = value
  return table


@pytest.mark.parametrize("voter", list(published_settings()))
def test_shares_equal_a_loop(voter, asked):
  near, k = asked[0].near, 9
  near.labels[::7, 1] = -1
  near.labels[13] = -1
  share = shares(near, setting(voter), k=k)
  weights = weighting.weights(near.similarities, setting(voter))
  for q in range(len(near)):
    sums, first = collections.Counter(), {}
    for place in range(k):
      label = int(near.labels[q, place])
      if label >= 0:
        sums[label] += weights[q, place]
        first.setdefault(label, place)
    expected = np.zeros(k)
    for label, place in first.items():
      expected[place] = sums[label] / sum(sums.values())
    # Float32 sums of up to k terms.
    np.testing.assert_allclose(share.values[q], expected, atol=k * 1.2e-7)
  assert share.leaders()[13] == -1 and not share.values[13].any()
  np.testing.assert_array_equal(
    share.of(near.labels[:, 0])[near.labels[:, 0] >= 0] > 0, True
  )


@pytest.mark.parametrize("temperature, smoothing", [(1.0, 0.1), (0.4, 1e-3)])
def test_probabilities_equal_their_formula(asked, temperature, smoothing):
  held_out, _ = asked
  share = shares(held_out.near, setting("rank"), k=7)
  model = probabilities_lib.ProbabilityModel(
    temperature=temperature, smoothing=smoothing
  )
  table = dense(
    probabilities_lib.probabilities(share, model, num_classes=NUM_CLASSES)
  )
  for q, (labels, values) in enumerate(
    zip(share.labels, share.values, strict=True)
  ):
    powers = np.zeros(NUM_CLASSES)
    for label, value in zip(labels, values, strict=True):
      if value > 0:
        powers[label] = float(value) ** (1 / temperature)
    total = powers.sum()
    given = powers / total if total else np.full(NUM_CLASSES, 1 / NUM_CLASSES)
    expected = (1 - smoothing) * given + smoothing / NUM_CLASSES
    np.testing.assert_allclose(table[q], expected, rtol=1e-6)


def test_brier_and_likelihood_equal_scikit_learn(asked):
  held_out, _ = asked
  share = shares(held_out.near, setting("softmax"), k=K)
  found = probabilities_lib.probabilities(
    share, probabilities_lib.published_model(K), num_classes=NUM_CLASSES
  )
  table, labels = dense(found), held_out.labels
  np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-6)
  assert found.nll(labels).mean() == pytest.approx(
    sklearn_metrics.log_loss(
      labels,
      table / table.sum(axis=1, keepdims=True),
      labels=range(NUM_CLASSES),
    ),
    rel=1e-6,
  )
  one_hot = np.eye(NUM_CLASSES)[labels]
  assert found.brier(labels).mean() == pytest.approx(
    ((table - one_hot) ** 2).sum(axis=1).mean(), rel=1e-9
  )


def test_the_fit_beats_a_grid_on_the_tuning_queries(asked):
  held_out, tuning = asked
  share = shares(tuning.near, setting("rank"), k=K)
  model = probabilities_lib.fit_probabilities(
    share, tuning, num_classes=NUM_CLASSES
  )

  def loss(model):
    found = probabilities_lib.probabilities(
      share, model, num_classes=NUM_CLASSES
    )
    return found.nll(tuning.labels).mean()

  grid = [
    loss(probabilities_lib.ProbabilityModel(temperature=t, smoothing=s))
    for t in np.geomspace(0.1, 5, 15)
    for s in np.geomspace(1e-4, 0.5, 15)
  ]
  assert loss(model) <= min(grid) + 1e-6
  with pytest.raises(TypeError):
    probabilities_lib.fit_probabilities(
      share, held_out, num_classes=NUM_CLASSES
    )


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_bins_equal_scikit_learn(strategy):
  rng = np.random.default_rng(0)
  sure = rng.random(600).astype(np.float32)
  right = rng.random(600) < sure**2
  bins = calibration.reliability_bins(
    sure, right, num_bins=10, adaptive=strategy == "quantile"
  )
  accuracy, means = sklearn_calibration.calibration_curve(
    right, sure, n_bins=10, strategy=strategy
  )
  # Quantile edges may put one query of 60 into the next bin.
  atol = 1e-6 if strategy == "uniform" else 2 / 60
  np.testing.assert_allclose(bins.accuracy, accuracy, atol=atol)
  np.testing.assert_allclose(bins.confidence, means, atol=atol)
  weights = bins.counts / 600
  gaps = abs(bins.accuracy - bins.confidence)
  assert bins.ece() == pytest.approx(float((weights * gaps).sum()))


def test_certainty_has_a_bin_and_nonsense_is_refused():
  bins = calibration.reliability_bins(
    np.array([0.0, 1.0, 1.0]),
    np.array([False, True, False]),
    num_bins=10,
    adaptive=False,
  )
  assert bins.counts.tolist() == [1, 2]
  assert bins.ece() == pytest.approx(2 / 3 * 0.5)
  with pytest.raises(ValueError, match="Query 1 has confidence nan"):
    calibration.reliability_bins(
      np.array([0.5, np.nan]), np.ones(2, bool), num_bins=2, adaptive=True
    )


def test_counts_and_entropy_equal_python_counters():
  near, labels, _ = cases(400, 5, "q")
  near.labels[:30] = labels[:30, None]  # Unanimous.
  k = 10
  counts = calibration.count_bins(near, labels, k=k)
  for empirical in (False, True):
    bins = calibration.entropy_bins(
      near, labels, k=k, num_classes=NUM_CLASSES, empirical_maximum=empirical
    )
    by_count, entropies, rights = collections.defaultdict(list), [], []
    for row, label in zip(near.labels[:, :k].tolist(), labels, strict=True):
      counter = collections.Counter(row)
      winner, count = counter.most_common(1)[0]  # First met wins ties.
      by_count[count].append(winner == label)
      rights.append(winner == label)
      entropies.append(-sum(n / k * math.log2(n / k) for n in counter.values()))
    most = max(entropies) if empirical else math.log2(NUM_CLASSES)
    sure = 1 - np.array(entropies) / most
    by_bin = collections.defaultdict(list)
    for value, right in zip(sure, rights, strict=True):
      by_bin[math.floor(max(0, value) / 0.05 + 1e-9)].append(right)
    np.testing.assert_allclose(
      bins.accuracy, [np.mean(by_bin[b]) for b in sorted(by_bin)]
    )
    assert bins.counts[-1] >= 30  # The unanimous are kept ...
    assert bins.without_last().counts.sum() == 400 - bins.counts[-1]
  np.testing.assert_allclose(
    counts.accuracy, [np.mean(by_count[c]) for c in sorted(by_count)]
  )
  np.testing.assert_allclose(
    counts.confidence, [c / k for c in sorted(by_count)]
  )


def test_selective_accuracy_equals_a_loop_with_ties():
  rng = np.random.default_rng(0)
  sure = rng.integers(0, 20, 300) / 20
  right = rng.random(300) < sure
  curve = confidence.selective_curve(sure, right)
  for threshold, coverage, accuracy in zip(
    curve.thresholds, curve.coverage, curve.accuracy, strict=True
  ):
    answered = sure >= threshold
    assert coverage == answered.mean()
    assert accuracy == pytest.approx(right[answered].mean())
  assert curve.coverage[-1] == 1 and curve.accuracy[-1] == right.mean()
  assert (
    curve.accuracy_at(0.3)
    == curve.accuracy[np.flatnonzero(curve.coverage >= 0.3)[0]]
  )
  errors = [1 - right[sure >= own].mean() for own in sure]
  assert curve.area() == pytest.approx(np.mean(errors))


def test_thresholds_keep_their_promise_on_tuning_queries(asked):
  held_out, tuning = asked
  share = shares(tuning.near, setting("rank"), k=5)
  predictions = share.leaders()
  sure = share.of(predictions)
  right = predictions == tuning.labels
  threshold = confidence.threshold_for(sure, tuning, predictions, accuracy=0.85)
  assert right[sure >= threshold].mean() >= 0.85
  lower = [t for t in np.unique(sure) if t < threshold]
  assert all(right[sure >= t].mean() < 0.85 for t in lower)
  impossible = confidence.threshold_for(
    sure, tuning, (tuning.labels + 1) % NUM_CLASSES, accuracy=0.5
  )
  assert impossible == math.inf
  with pytest.raises(TypeError):
    confidence.threshold_for(sure, held_out, predictions, accuracy=0.5)


def test_every_voter_is_calibrated_and_keeps_unknown_classes_wrong(asked):
  held_out, tuning = asked
  labels = held_out.labels.copy()
  labels[:50] = NUM_CLASSES  # A class that the memory has no name for ...
  labels[50:80] = -1
  held_out = queries_lib.held_out_queries(held_out.near, labels, held_out.ids)
  found = confidence.confident_votes(
    held_out,
    tuning,
    settings=published_settings(),
    ks=(3, 12),
    num_classes=NUM_CLASSES + 1,
    num_bins=10,
    promises=(0.5, 0.999),
  )
  for vote in found.values():
    assert len(vote.raw.right) == 470 and not vote.raw.right[:50].any()
    assert vote.fitted.bins.counts.sum() == 470
    assert 0 < vote.fitted.brier < 2 and np.isfinite(vote.fitted.nll)
    threshold, coverage, accuracy = vote.promised[0.999]
    assert 0 <= coverage <= 1 and (accuracy is None) == (coverage == 0)


def test_neighbors_in_no_order_of_similarity_do_not_matter_to_plurality():
  near = neighbors([[2, 1, 1, 0]])
  share = shares(near, setting("plurality"), k=4)
  assert share.values.tolist() == [[0.25, 0.5, 0, 0.25]]
  assert share.leaders().tolist() == [1]


def test_shares_of_one_query_are_those_of_all_queries():
  rng = np.random.default_rng(5)
  labels = rng.integers(-1, 4, 12).astype(np.int32)
  weights = rng.random(12)
  found = shares_lib.class_shares(labels, weights)
  total = weights[labels >= 0].sum()
  assert found == pytest.approx(
    {c: weights[labels == c].sum() / total for c in set(labels[labels >= 0])}
  )
  assert list(found.values()) == sorted(found.values(), reverse=True)
  # Nobody votes; a negative weight is none.
  assert shares_lib.class_shares(np.array([-1, -1]), np.ones(2)) == {}
  signed = shares_lib.class_shares(np.array([1, 0]), np.array([-1.0, 2.0]))
  assert signed == {0: 1.0, 1: 0.0}
