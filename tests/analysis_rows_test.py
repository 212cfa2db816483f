"""What single rows do: edits undone and redone, label errors, residuals."""

import numpy as np
import pytest

import visual_memory as vm
from visual_memory.analysis import composition, influence, label_errors
from visual_memory.types import UNLABELED

C, N, D = 5, 120, 16


@pytest.fixture(scope="module")
def clusters():
  """Five clusters on the sphere, their rows and some queries."""
  rng = np.random.default_rng(0)
  centers = rng.normal(size=(C, D))
  labels = np.arange(N) % C
  points = centers[labels] + 0.3 * rng.normal(size=(N, D))
  points /= np.linalg.norm(points, axis=1, keepdims=True)
  return vm.embedded_set(
    points, labels, [f"row/{i}" for i in range(N)],
    class_names=list("abcde"), fingerprint="f",
  )  # fmt: skip


def test_edits_of_neighbors_equal_edits_of_the_memory(clusters):
  rows, queries = clusters.take(range(100)), clusters.take(range(100, N))
  memory = vm.VisualMemory.from_embedded(rows)
  near = vm.search(queries.embeddings, memory, k=40)
  removed = [*near.ids[:, 0], *near.ids[3, :4]]
  relabeled = {row_id: 2 for row_id in near.ids[:, 7] if row_id not in removed}
  ours = influence.edited(near, removed=removed, relabeled=relabeled, k=10)
  edited = memory.remove(sorted(set(removed))).relabel(
    list(relabeled), ["c"] * len(relabeled)
  )
  truth = vm.search(queries.embeddings, edited, k=10)
  np.testing.assert_array_equal(ours.ids, truth.ids)
  np.testing.assert_array_equal(ours.labels, truth.labels)
  np.testing.assert_array_equal(ours.similarities, truth.similarities)


def test_edits_that_cannot_be_told(clusters):
  memory = vm.VisualMemory.from_embedded(clusters.take(range(100)))
  near = vm.search(clusters.embeddings[100:], memory, k=40)
  edit = lambda removed=(), relabeled=(), k=10: influence.edited(
    near, removed=removed, relabeled=dict(relabeled), k=k
  )
  with pytest.raises(ValueError, match="Query 2 has fewer than k = 40"):
    edit(removed=sorted(set(near.ids[2]) - set(near.ids[:2].ravel()))[:1], k=40)
  first = near.ids[0, 0]
  with pytest.raises(ValueError, match="both removed and relabeled"):
    edit(removed=[first], relabeled={first: 1})
  with pytest.raises(ValueError, match="too low"):
    edit(relabeled={first: -2})
  with pytest.raises(ValueError, match="k = 41"):
    edit(k=41)


def test_planted_label_errors_are_found(clusters):
  rng = np.random.default_rng(1)
  wrong = np.zeros(N, bool)
  wrong[rng.permutation(N)[:12]] = True
  labels = np.where(wrong, (clusters.labels + 1) % C, clusters.labels)
  planted = vm.embedded_set(
    clusters.embeddings, labels, clusters.ids, class_names=list("abcde"),
    fingerprint="f",
  )  # fmt: skip
  memory = vm.VisualMemory.from_embedded(planted)
  near = vm.search(planted.embeddings, memory, k=10, exclude_self=planted.ids)
  found = label_errors.rank_label_errors(
    near, planted.labels, voter="rank", k=10, num_classes=C
  )
  at = label_errors.precision_at(found, wrong, (6, 12, N))
  # Looking at random rows would find one in ten.
  assert at[6] == 1 and at[12] >= 10 / 12
  assert at[N] == pytest.approx(0.1)
  first = found.rows[:6]
  np.testing.assert_array_equal(found.suggested[:6], clusters.labels[first])
  assert (np.diff(found.margin) <= 0).all()
  assert found.num_suspects >= 10


@pytest.mark.parametrize("voter", ["plurality", "softmax"])
def test_margins_equal_a_plain_loop(voter):
  rng = np.random.default_rng(2)
  votes = rng.integers(UNLABELED, C, (50, 7)).astype(np.int32)
  labels = rng.integers(UNLABELED, C, 50)
  near = vm.types.Neighbors(
    ids=np.full(votes.shape, "x", object), indices=votes, labels=votes,
    similarities=np.sort(rng.random(votes.shape).astype(np.float32))[:, ::-1],
  )  # fmt: skip
  found = label_errors.rank_label_errors(
    near, labels, voter=voter, k=5, num_classes=C
  )
  assert sorted(found.rows) == np.flatnonzero(labels >= 0).tolist()
  for row, suggested, margin in zip(
    found.rows, found.suggested, found.margin, strict=True
  ):
    say = np.zeros(C)
    for label, s in zip(votes[row, :5], near.similarities[row], strict=False):
      nearest = float(near.similarities[row, 0])
      weight = np.exp((float(s) - nearest) / 0.07) if voter == "softmax" else 1
      say[label] += weight * (label >= 0)
    own, total = say[labels[row]], max(say.sum(), 1e-300)
    say[labels[row]] = -1
    best = say.max()
    assert margin == pytest.approx((max(best, 0) - own) / total)
    if best > 0:
      assert say[suggested] == pytest.approx(best)
    else:
      assert suggested == UNLABELED


def test_precision_at_refuses_what_is_not_there(clusters):
  memory = vm.VisualMemory.from_embedded(clusters)
  near = vm.search(clusters.embeddings, memory, k=10, exclude_self=clusters.ids)
  found = label_errors.rank_label_errors(
    near, clusters.labels, voter="rank", k=10, num_classes=C
  )
  with pytest.raises(ValueError, match="121"):
    label_errors.precision_at(found, np.zeros(N, bool), (N + 1,))
  with pytest.raises(ValueError, match="labels for the neighbors of"):
    label_errors.rank_label_errors(
      near, clusters.labels[:5], voter="rank", k=10, num_classes=C
    )


@pytest.mark.parametrize("how", ["difference", "projection"])
def test_the_residual_of_a_mixture_finds_the_other_part(clusters, how):
  """The mean of two clusters' rows: one is found first, then the other."""
  memory = vm.VisualMemory.from_embedded(clusters)
  first, second = clusters.embeddings[0::C], clusters.embeddings[1::C]
  mixed = 0.55 * first + 0.45 * second
  mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
  near = vm.search(mixed, memory, k=1)
  found = clusters.embeddings[[int(i[4:]) for i in near.ids[:, 0]]]
  left = composition.residuals(mixed, found, how=how)
  np.testing.assert_allclose(np.linalg.norm(left, axis=1), 1, atol=1e-6)
  if how == "projection":
    np.testing.assert_allclose(np.einsum("qd,qd->q", left, found), 0, atol=1e-6)
  after = vm.search(left, memory, k=1).labels[:, 0]
  assert ((near.labels[:, 0] + after) == 1).mean() > 0.9  # 0 then 1, or 1, 0.


def test_nothing_is_left_of_a_copy(clusters):
  rows = clusters.embeddings[:3]
  assert not composition.residuals(rows, rows, how="difference").any()
  with pytest.raises(ValueError, match="how 'minus'"):
    composition.residuals(rows, rows, how="minus")
