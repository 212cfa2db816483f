"""Honest selection: who may choose, who is scored, and how sure it is."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from visual_memory.analysis import aggregation, choosing
from visual_memory.analysis.intervals import bootstrap_mean
from visual_memory.types import Neighbors
from visual_memory.voting import queries as queries_lib
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import published_settings, setting

NUM_CLASSES = 5
K = 12


def neighbors(labels, similarities=None, ids=None):
  labels = np.asarray(labels, np.int32)
  if similarities is None:
    similarities = np.linspace(0.9, 0.1, labels.shape[1], dtype=np.float32)
    similarities = np.broadcast_to(similarities, labels.shape)
  if ids is None:
    ids = np.full(labels.shape, "row", object)
  return Neighbors(
    ids=ids,
    indices=np.zeros_like(labels),
    labels=labels,
    similarities=np.asarray(similarities, np.float32),
  )


def cases(num_queries, seed, prefix, noise=0.6):
  """Neighbors that have the query's class less often with their rank."""
  rng = np.random.default_rng(seed)
  truth = rng.integers(0, NUM_CLASSES, num_queries)
  chance = noise * np.arange(K) / K + 0.3
  wrong = rng.random((num_queries, K)) < chance
  labels = np.where(
    wrong, rng.integers(0, NUM_CLASSES, wrong.shape), truth[:, None]
  )
  similarities = -np.sort(-rng.random((num_queries, K)), axis=1)
  ids = [f"{prefix}{i}" for i in range(num_queries)]
  return neighbors(labels, similarities), truth, ids


@pytest.fixture(scope="module")
def held_out():
  return queries_lib.held_out_queries(*cases(400, 0, "test"))


@pytest.fixture(scope="module")
def tuning(held_out):
  return queries_lib.tuning_queries(*cases(300, 1, "tune"), held_out=held_out)


def test_ids_in_common_are_refused(held_out):
  near, labels, ids = cases(300, 1, "tune")
  ids[7] = "test3"
  with pytest.raises(ValueError, match="1 tuning queries .* 'test3'"):
    queries_lib.tuning_queries(near, labels, ids, held_out=held_out)


def test_a_query_among_its_own_neighbors_is_refused(held_out):
  near, labels, ids = cases(300, 1, "tune")
  near.ids[4, 2] = ids[4]
  with pytest.raises(ValueError, match="'tune4' is among its own neighbors"):
    queries_lib.tuning_queries(near, labels, ids, held_out=held_out)


def test_lengths_and_repeated_ids_are_refused(held_out):
  near, labels, ids = cases(30, 1, "tune")
  with pytest.raises(ValueError, match="30 queries .* 29 labels"):
    queries_lib.tuning_queries(near, labels[1:], ids, held_out=held_out)
  with pytest.raises(ValueError, match="Duplicate id 'tune0'"):
    queries_lib.held_out_queries(near, labels, [ids[0], *ids[:-1]])


def test_only_tuning_queries_choose_and_only_held_out_ones_are_scored(
  held_out, tuning
):
  common = {"settings": published_settings(), "ks": (1,), "num_classes": 5}
  with pytest.raises(TypeError, match="HeldOutQueries cannot choose"):
    queries_lib.check_tuning(held_out)
  with pytest.raises(TypeError, match="TuningQueries cannot be scored"):
    queries_lib.check_held_out(tuning)
  with pytest.raises(TypeError):
    choosing.choose(held_out, **common)
  with pytest.raises(TypeError):
    choosing.best_answer(tuning.near, np.zeros((1, 300), int))
  choice = choosing.choose(tuning, **common)
  with pytest.raises(TypeError):
    choosing.score(tuning, choice, num_classes=5, seed=0)
  with pytest.raises(TypeError):
    choosing.best_on_held_out(tuning, **common)


def test_the_choice_is_the_first_best_of_a_plain_search(tuning, held_out):
  settings = published_settings()
  choice = choosing.choose(
    tuning, settings=settings, ks=range(1, K + 1), num_classes=NUM_CLASSES
  )
  best = None
  for name, value in settings.items():
    for k, predictions in enumerate(
      predict(
        tuning.near, [value], ks=range(1, K + 1), num_classes=NUM_CLASSES
      )[0],
      start=1,
    ):
      accuracy = np.mean(predictions == tuning.labels)
      if best is None or accuracy > best[2]:
        best = (name, k, accuracy)
  assert (choice.name, choice.k, choice.accuracy) == best
  scored = choosing.score(held_out, choice, num_classes=NUM_CLASSES, seed=0)
  expected = predict(
    held_out.near, [choice.setting], ks=(choice.k,), num_classes=NUM_CLASSES
  )[0, 0]
  np.testing.assert_array_equal(scored.predictions, expected)
  assert scored.accuracy.mean == np.mean(expected == held_out.labels)


def test_the_published_maximum_is_never_below_the_honest_number(
  held_out, tuning
):
  found = aggregation.compare_voters(
    held_out,
    tuning,
    settings=published_settings(),
    ks=range(1, K + 1),
    num_classes=NUM_CLASSES,
    seed=0,
  )
  accuracy = found.table.accuracy()
  for name, (k, best) in found.published.items():
    assert best == max(accuracy[name].values()) == accuracy[name][k]
    assert found.scored[name].accuracy.mean <= best
    gain = found.scored[name].accuracy.mean - accuracy[name][1]
    assert found.gains[name].interval.mean == pytest.approx(gain)
  assert found.published == choosing.best_on_held_out(
    held_out,
    settings=published_settings(),
    ks=range(1, K + 1),
    num_classes=NUM_CLASSES,
  )


def test_unlabelled_queries_count_for_nothing(held_out, tuning):
  labels = tuning.labels.copy()
  labels[:100] = -1
  some = queries_lib.tuning_queries(
    tuning.near, labels, tuning.ids, held_out=held_out
  )
  alone = queries_lib.tuning_queries(
    tuning.near.take(range(100, 300)),
    labels[100:],
    tuning.ids[100:],
    held_out=held_out,
  )
  common = {"settings": published_settings(), "ks": (1, 5), "num_classes": 5}
  assert choosing.choose(some, **common) == choosing.choose(alone, **common)
  nobody = queries_lib.tuning_queries(
    tuning.near, np.full(300, -1), tuning.ids, held_out=held_out
  )
  with pytest.raises(ValueError, match="No tuning query has a label"):
    choosing.choose(nobody, **common)


def test_a_sweep_equals_one_vote_after_the_other(held_out, tuning):
  values = (0.5, 2.0, 9.0)
  found = aggregation.sweep(
    held_out, tuning, voter="rank", values=values, ks=(1, 4, 12), num_classes=5
  )
  for row, value in enumerate(values):
    for column, k in enumerate((1, 4, 12)):
      for queries, accuracy in (
        (held_out, found.held_out), (tuning, found.tuning)
      ):  # fmt: skip
        one = predict(
          queries.near, [setting("rank", offset=value)], ks=(k,), num_classes=5
        )
        right = np.mean(one[0, 0] == queries.labels)
        assert accuracy[row, column] == pytest.approx(right)
  row, column = found.chosen()
  assert found.tuning[row, column] == found.tuning.max()
  with pytest.raises(ValueError, match="'plurality' has no one hyper"):
    aggregation.sweep(
      held_out, tuning, voter="plurality", values=(1.0,), ks=(1,), num_classes=5
    )


def test_bootstrap_agrees_with_scipy():
  rng = np.random.default_rng(0)
  for values in (
    rng.random(500) < 0.4,
    rng.integers(-1, 2, 300),
    rng.choice([0.0, 0.25, 1.0], 200),
  ):
    ours = bootstrap_mean(values, seed=1)
    theirs = stats.bootstrap(
      (values.astype(float),),
      np.mean,
      n_resamples=10_000,
      method="percentile",
      rng=np.random.default_rng(2),
    )
    assert ours.mean == values.mean()
    # Quantiles of 10,000 resamples: a standard error of about 0.03 sigma.
    slack = 0.12 * theirs.standard_error
    assert abs(ours.low - theirs.confidence_interval.low) < slack
    assert abs(ours.high - theirs.confidence_interval.high) < slack
  assert bootstrap_mean(values, seed=1) == ours  # The seed decides.
  with pytest.raises(ValueError, match="finite values"):
    bootstrap_mean(np.array([0.0, np.nan]), seed=0)
  with pytest.raises(ValueError, match="finite values"):
    bootstrap_mean(np.array([]), seed=0)


def test_differences_are_paired(held_out, tuning):
  choice = choosing.choose(
    tuning, settings=published_settings(), ks=(3, 9), num_classes=5
  )
  score = lambda k: choosing.score(
    held_out, dataclasses.replace(choice, k=k), num_classes=5, seed=0
  )
  few, many = score(3), score(9)
  gap = choosing.difference(few, many, seed=0).interval
  assert gap.mean == pytest.approx(few.accuracy.mean - many.accuracy.mean)
  # Queries that both get right, or both wrong, are no evidence.
  differ = np.mean(few.right != many.right)
  assert 0 < differ < 0.2
  width = 2 * 1.96 * np.sqrt((differ - gap.mean**2) / 400)
  assert gap.high - gap.low == pytest.approx(width, rel=0.15)
