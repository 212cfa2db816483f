"""Counts, true removal and its effects, against removing row by row."""

import memory_cases
import numpy as np
import pytest

from visual_memory.analysis import influence, pruned_votes, pruning
from visual_memory.retrieval import exact
from visual_memory.types import UNLABELED, Neighbors
from visual_memory.voting import compat, queries, weighting
from visual_memory.voting.vote import predict

NUM_ROWS, NUM_QUERIES, K = 40, 60, 5
SETTINGS = weighting.published_settings()


class Case:
  """A memory in which many rows are equally near, so that votes tie."""

  def __init__(self):
    rng = np.random.default_rng(0)
    corners = memory_cases.random_rows(12, 6)
    self.rows = corners[rng.integers(0, 12, NUM_ROWS)]
    self.memory = memory_cases.memory_of(self.rows)
    self.embedded = self.memory.embedded()
    self.asked = corners[rng.integers(0, 12, NUM_QUERIES)]
    self.labels = rng.integers(-1, 5, NUM_QUERIES)
    self.near = self.search(self.memory, K + 8)
    self.without = [
      self.search(self.memory.remove([row_id]), K)
      for row_id in self.embedded.ids
    ]

  def search(self, memory, k):
    return exact.search(self.asked, memory, k=k)


@pytest.fixture(scope="module")
def case():
  return Case()


def brute_force(case, setting, k):
  """The votes after removing every row in turn and searching again."""
  base = predict(case.near, [setting], ks=(k,), num_classes=5)[0, 0]
  changes, helps, harms = (np.zeros(NUM_ROWS, int) for _ in range(3))
  known = case.labels != UNLABELED
  right = base == case.labels
  for row, near in enumerate(case.without):
    now = predict(near, [setting], ks=(k,), num_classes=5)[0, 0]
    changes[row] = (now != base).sum()
    helps[row] = (right & (now != case.labels) & known).sum()
    harms[row] = (~right & (now == case.labels) & known).sum()
  return changes, helps, harms


@pytest.mark.parametrize("voter", SETTINGS)
def test_effects_equal_removing_every_row(case, voter):
  for k in (1, K):
    effects = influence.removal_effects(
      case.near, case.labels, case.embedded.ids, SETTINGS[voter], k=k,
      num_classes=5,
    )  # fmt: skip
    changes, helps, harms = brute_force(case, SETTINGS[voter], k)
    assert changes.sum() > 0 and helps.sum() > 0 and harms.sum() > 0
    np.testing.assert_array_equal(effects.changes, changes)
    np.testing.assert_array_equal(effects.helps, helps)
    np.testing.assert_array_equal(effects.harms, harms)
    np.testing.assert_array_equal(effects.gain, harms - helps)
    [found] = influence.privacy_curve(
      case.near, case.labels, case.embedded.ids,
      settings={voter: SETTINGS[voter]}, ks=(k,), num_classes=5,
    )  # fmt: skip
    assert found.num_non_private == (changes > 0).sum()
    assert found.num_harmful == (harms > 0).sum()
    assert found.num_helpful == (helps > 0).sum()
    assert found.num_swaying == (changes > helps + harms).sum()
    assert found.non_private == found.num_non_private / NUM_ROWS


def test_wrong_counts_equal_a_loop(case):
  labels = np.where(case.labels < 0, 0, case.labels)
  wrong, right = pruning.wrong_counts(case.near, labels, case.embedded.ids, k=K)
  expected = np.zeros((2, NUM_ROWS), int)
  row_of = {id: row for row, id in enumerate(case.embedded.ids)}
  for query in range(NUM_QUERIES):
    for place in range(K):
      row = row_of[case.near.ids[query, place]]
      expected[int(case.embedded.labels[row] == labels[query]), row] += 1
  np.testing.assert_array_equal(wrong, expected[0])
  np.testing.assert_array_equal(right, expected[1])
  assert (wrong + right).sum() == NUM_QUERIES * K


def test_reliability_is_the_published_formula():
  wrong = np.array([0, 1, 10, 100])
  expected = [1, 0.875, 1.75 / 11, 1.75 / 101]
  np.testing.assert_allclose(pruning.reliability(wrong), expected, rtol=1e-15)
  np.testing.assert_allclose(
    pruning.reliability(wrong, scale=2.0, exponent=2.0),
    [1, 0.5, 2 / 121, 2 / 10201],
    rtol=1e-15,
  )
  with pytest.raises(ValueError, match="positive"):
    pruning.reliability(wrong, scale=0.0)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_refilling_equals_a_search_of_the_pruned_memory(case, share):
  excluded = np.random.default_rng(1).random(NUM_ROWS) < share
  pruned = case.memory.remove(list(case.embedded.ids[excluded]))
  truth = case.search(pruned, K)
  refilled = pruning.refill(case.near, excluded[case.near.indices], k=K)
  assert refilled.short.any() == (share > 0.5)
  near = pruning.fill_short(
    refilled, truth.take(np.flatnonzero(refilled.short))
  )
  np.testing.assert_array_equal(near.ids, truth.ids)
  np.testing.assert_array_equal(near.labels, truth.labels)
  np.testing.assert_array_equal(near.similarities, truth.similarities)


def test_neighbors_searched_again_have_positions_in_the_whole_memory(case):
  excluded = np.random.default_rng(1).random(NUM_ROWS) < 0.6
  pruned = case.memory.remove(list(case.embedded.ids[excluded]))
  near = pruned_votes.without(
    case.near,
    excluded,
    K,
    lambda which, excluded, k: exact.search(case.asked[which], pruned, k=k),
  )
  np.testing.assert_array_equal(near.ids, case.search(pruned, K).ids)
  near.check_rows(case.embedded.ids)


@pytest.fixture(scope="module")
def compared(case):
  """Tuning and held-out queries, and every treatment compared."""
  labels = case.labels.astype(np.int32)
  ids = np.array([f"q{i}" for i in range(NUM_QUERIES)], object)
  tune, test = np.arange(0, 30), np.arange(30, NUM_QUERIES)
  held_out = queries.held_out_queries(
    case.near.take(test), labels[test], ids[test]
  )
  tuning = queries.tuning_queries(
    case.near.take(tune), labels[tune], ids[tune], held_out=held_out
  )
  wrong, _ = pruning.wrong_counts(
    case.near, np.maximum(labels, 0), case.embedded.ids, k=K
  )

  def search(asked, which, excluded, k):
    at = (tune if asked is tuning else test)[which]
    pruned = case.memory.remove(list(case.embedded.ids[excluded]))
    return exact.search(case.asked[at], pruned, k=k)

  treatments = {
    "none": [pruned_votes.NOTHING],
    "hard": pruned_votes.hard(wrong, (5, 7, 9)),
    "soft": pruned_votes.soft(wrong, scales=(1.75,), exponents=(0.5, 1.0)),
  }
  found = pruned_votes.compare(
    tuning, held_out, treatments, row_ids=case.embedded.ids,
    settings=SETTINGS, ks=(1, 3, K), num_classes=5, seed=0, search=search,
  )  # fmt: skip
  return tuning, held_out, treatments, found


def test_every_choice_is_the_best_on_tuning_rows(case, compared):
  tuning, held_out, treatments, found = compared
  for kind, candidates in treatments.items():
    for voter, setting in SETTINGS.items():
      chosen = found[kind][voter]
      best = (-1.0, None, None)
      for treatment in candidates:
        memory = case.memory
        if treatment.excluded is not None:
          memory = memory.remove(list(case.embedded.ids[treatment.excluded]))
        near = case.search(memory, K)
        factors = None
        if treatment.factors is not None:
          factors = treatment.factors[near.indices]
        for k in (1, 3, K):
          votes = predict(
            near, [setting], ks=(k,), num_classes=5, factors=factors
          )[0, 0]
          known = tuning.labels >= 0
          right = (votes[:30] == tuning.labels)[known].mean()
          if right > best[0]:
            best = right, (treatment.name, k), votes[30:]
      assert (chosen.treatment.name, chosen.k) == best[1]
      assert chosen.tuning_accuracy == pytest.approx(best[0])
      np.testing.assert_array_equal(chosen.scored.predictions, best[2])


def test_as_published_is_the_compat_vote(case, compared):
  _, held_out, treatments, _ = compared
  treatment = treatments["hard"][1]
  found = pruned_votes.best_on_held_out_as_published(
    held_out, {"hard": treatment}, row_ids=case.embedded.ids,
    settings=SETTINGS, ks=(1, 3, K), num_classes=5,
  )  # fmt: skip
  near = held_out.near
  votes = compat.predict(
    near.labels[:, :K], 1 - near.similarities[:, :K].astype(float),
    voter="rank", ks=(1, 3, K), num_classes=5,
    excluded=treatment.excluded[near.indices[:, :K]],
  )  # fmt: skip
  known = held_out.labels >= 0
  accuracy = (votes == held_out.labels)[:, known].mean(axis=1)
  assert found["hard"]["rank"][1] == pytest.approx(accuracy.max())


def test_bad_input_is_named(case):
  with pytest.raises(ValueError, match="blameless"):
    pruned_votes.hard(np.zeros(3, int), (0,))
  with pytest.raises(ValueError, match="shape"):
    pruning.refill(case.near, np.zeros((2, 2), bool), k=2)
  with pytest.raises(ValueError, match="labels for 60 queries"):
    influence.removal_effects(
      case.near, case.labels[:3], case.embedded.ids, SETTINGS["rank"], k=2,
      num_classes=5,
    )  # fmt: skip
  with pytest.raises(ValueError, match="labels for the|labels for 60"):
    pruning.wrong_counts(case.near, case.labels[:3], case.embedded.ids, k=2)
  empty = Neighbors(
    ids=np.empty((0, 3), object), indices=np.empty((0, 3), np.int32),
    labels=np.empty((0, 3), np.int32),
    similarities=np.empty((0, 3), np.float32),
  )  # fmt: skip
  with pytest.raises(ValueError, match="empty"):
    influence.privacy_curve(
      empty, np.empty(0, int), np.empty(0, object), settings=SETTINGS,
      ks=(1,), num_classes=2,
    )  # fmt: skip
