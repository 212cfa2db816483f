"""Noise, growth, laws, distances, forgetting: against SciPy and plain loops."""

import dataclasses

import numpy as np
import pytest
from analysis_selection_test import NUM_CLASSES, K, cases, neighbors
from scipy import stats
from sklearn import metrics as sklearn_metrics

import visual_memory as vm
from visual_memory.analysis import (
  calibration,
  growth,
  label_noise,
  latency,
  ood,
  unlearning,
)
from visual_memory.analysis.intervals import fit_line
from visual_memory.types import embedded_set
from visual_memory.voting import queries as queries_lib
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import setting


def embedded(count, seed, prefix="row", dim=8, num_classes=4):
  """Rows with exact duplicates, so that similarities tie."""
  rng = np.random.default_rng(seed)
  rows = rng.normal(size=(count, dim))
  rows[count // 2 :: 3] = rows[: len(rows[count // 2 :: 3])]
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  return embedded_set(
    rows,
    rng.integers(0, num_classes, count),
    [f"{prefix}{i}" for i in range(count)],
    class_names=[f"class {c}" for c in range(num_classes)],
    fingerprint="test",
  )


# Reliability.


def test_reliability_and_hits_equal_a_loop():
  near, labels, _ = cases(200, 0, "q")
  labels = labels.copy()
  labels[::9] = -1
  right, hits, total = np.zeros(K), np.zeros(K), 0
  for row, label in zip(near.labels, labels, strict=True):
    if label < 0:
      continue
    total += 1
    seen = False
    for place in range(K):
      right[place] += row[place] == label
      seen = seen or row[place] == label
      hits[place] += seen
  np.testing.assert_allclose(
    calibration.reliability(near, labels), right / total
  )
  np.testing.assert_allclose(calibration.hit_rate(near, labels), hits / total)
  with pytest.raises(ValueError, match="No query has a label"):
    calibration.hit_rate(near, np.full(200, -1))


def test_the_logarithmic_fit_equals_scipy():
  near, labels, _ = cases(300, 1, "q")
  fit = calibration.fit_logarithm(near, labels)
  curve = calibration.reliability(near, labels)
  x = np.log(np.arange(1, K + 1))
  theirs = stats.linregress(x, curve)
  assert fit.line.slope == pytest.approx(theirs.slope)
  assert fit.line.intercept == pytest.approx(theirs.intercept)
  assert fit.line.slope_error == pytest.approx(theirs.stderr)
  assert fit.line.intercept_error == pytest.approx(theirs.intercept_stderr)
  assert fit.line.r_squared == pytest.approx(theirs.rvalue**2)
  np.testing.assert_allclose(fit.at(np.array([1])), theirs.intercept)
  # The standard error over queries is what resampling queries shows.
  rng = np.random.default_rng(0)
  slopes = [
    stats.linregress(x, (near.labels == labels[:, None])[rows].mean(axis=0))[0]
    for rows in rng.integers(0, 300, (400, 300))
  ]
  assert fit.slope_error == pytest.approx(np.std(slopes), rel=0.15)


def test_lines_need_points():
  with pytest.raises(ValueError, match="two different x"):
    fit_line(np.ones(3), np.arange(3))
  with pytest.raises(ValueError, match="finite"):
    fit_line(np.arange(2), np.array([1, np.inf]))
  line = fit_line(np.arange(2), np.array([1.0, 3.0]))
  assert (line.slope, line.intercept) == (2, 1)
  assert line.slope_error is None


# Label noise.


def test_noise_is_nested_seeded_and_as_frequent_as_asked():
  ids = [f"row{i}" for i in range(20_000)]
  labels = np.arange(20_000) % NUM_CLASSES
  noise = label_noise.symmetric_noise(NUM_CLASSES, keep_possible=False)
  drawn = label_noise.corruption(labels, ids, noise, seed=0)
  assert (drawn.at(0.0) == labels).all() and (drawn.at(1.0) != labels).all()
  small, large = drawn.at(0.2), drawn.at(0.6)
  wrong = small != labels
  np.testing.assert_array_equal(large[wrong], small[wrong])
  assert stats.binomtest(int(wrong.sum()), 20_000, 0.2).pvalue > 1e-3
  # What they become is even over the other classes.
  gaps = (large - labels)[large != labels] % NUM_CLASSES
  assert stats.chisquare(np.bincount(gaps)[1:]).pvalue > 1e-3
  other = label_noise.corruption(labels, ids, noise, seed=1).at(0.2)
  assert (other != small).mean() > 0.2
  backwards = label_noise.corruption(labels[::-1], ids[::-1], noise, seed=0)
  np.testing.assert_array_equal(backwards.at(0.2)[::-1], small)
  with pytest.raises(ValueError, match="fraction must lie"):
    drawn.at(1.5)


def test_each_kind_of_noise_does_what_it_says():
  labels, ids = np.array([0, 1, 2, 2, -1]), list("abcde")
  pairs = label_noise.corruption(
    labels, ids, label_noise.pairwise_noise(3), seed=0
  )
  assert pairs.at(1.0).tolist() == [1, 2, 0, 0, -1]
  confusion = np.array([[9, 3, 1], [0, 9, 0], [5, 0, 0]])
  noise = label_noise.confusion_noise(confusion)
  np.testing.assert_allclose(noise, [[0, 0.75, 0.25], [0.5, 0, 0.5], [1, 0, 0]])
  keep = label_noise.symmetric_noise(4, keep_possible=True)
  np.testing.assert_allclose(keep, 0.25)
  with pytest.raises(ValueError, match="must be a distribution"):
    label_noise.corruption(labels, ids, np.eye(3) * 2, seed=0)
  with pytest.raises(ValueError, match="two classes"):
    label_noise.pairwise_noise(1)


def test_the_noise_curve_equals_a_memory_with_those_labels():
  rows, asked = embedded(120, 0), embedded(60, 1, "query")
  tune = rows.take(range(0, 120, 3))
  memory = vm.VisualMemory.from_embedded(rows)
  near = vm.search(asked.embeddings, memory, k=6)
  tune_near = vm.search(tune.embeddings, memory, k=6, exclude_self=tune.ids)
  held_out = queries_lib.held_out_queries(near, asked.labels, asked.ids)
  tuning = queries_lib.tuning_queries(
    tune_near, tune.labels, tune.ids, held_out=held_out
  )
  noise = label_noise.pairwise_noise(4)
  found = label_noise.noise_curve(
    held_out,
    tuning,
    rows,
    np.arange(0, 120, 3),
    noise=noise,
    fractions=(0.0, 0.5),
    seeds=(3,),
    settings={"rank": setting("rank")},
    ks=(1, 4, 6),
  )["rank"]
  wrong = label_noise.corruption(rows.labels, rows.ids, noise, seed=3).at(0.5)
  changed = dataclasses.replace(rows, labels=wrong)
  memory = vm.VisualMemory.from_embedded(changed)
  again = vm.search(asked.embeddings, memory, k=6)
  accuracy = lambda near, labels, k: np.mean(
    predict(near, [setting("rank")], ks=(k,), num_classes=4)[0, 0] == labels
  )
  tune_again = vm.search(tune.embeddings, memory, k=6, exclude_self=tune.ids)
  k = max((1, 4, 6), key=lambda k: accuracy(tune_again, wrong[::3], k))
  assert found.ks[0, 1] == k
  assert found.accuracy[0, 1] == accuracy(again, asked.labels, k)
  assert found.published[0, 1] == max(
    accuracy(again, asked.labels, k) for k in (1, 4, 6)
  )


# Growth and its law.


def test_growing_neighbors_equal_a_memory_of_the_same_rows():
  rows, asked = embedded(150, 2), embedded(20, 3, "query")
  steps = growth.nested_rows(
    rows.labels, rows.ids, per_class=(1, 3, 10, 100), seed=0
  )
  search = lambda part, k: vm.search(
    asked.embeddings,
    vm.VisualMemory.from_embedded(part),
    k=min(k, len(part)),
  )
  so_far = np.zeros(0, int)
  for step, near in zip(
    steps, growth.growing_neighbors(search, rows, steps, k=12), strict=True
  ):
    so_far = np.concatenate([so_far, step])
    memory = vm.VisualMemory.from_embedded(rows.take(so_far))
    whole = vm.search(asked.embeddings, memory, k=min(12, len(so_far)))
    np.testing.assert_array_equal(near.ids, whole.ids)
    np.testing.assert_array_equal(near.similarities, whole.similarities)
    np.testing.assert_array_equal(rows.ids[near.indices], near.ids)
    np.testing.assert_array_equal(rows.labels[near.indices], near.labels)
  assert len(so_far) == 150


def test_nested_rows_are_even_and_seeded():
  labels = np.array([0] * 50 + [1] * 7 + [-1] * 3 + [2] * 20)
  ids = [f"row{i}" for i in range(80)]
  steps = growth.nested_rows(labels, ids, per_class=(2, 5, 20), seed=0)
  sizes = [
    np.bincount(labels[np.concatenate(steps[: i + 1])]) for i in range(3)
  ]
  np.testing.assert_array_equal(sizes, [[2, 2, 2], [5, 5, 5], [20, 7, 20]])
  other = growth.nested_rows(labels, ids, per_class=(2, 5, 20), seed=1)
  assert set(steps[0]) != set(other[0])
  order = np.random.default_rng(0).permutation(80)
  moved = growth.nested_rows(
    labels[order], [ids[i] for i in order], per_class=(2,), seed=0
  )
  assert set(order[moved[0]]) == set(steps[0])
  with pytest.raises(ValueError, match="increase from 1"):
    growth.nested_rows(labels, ids, per_class=(2, 2), seed=0)


def test_the_published_law_is_evaluated_as_published():
  """The published coefficients of DINOv2 L/14 and where they lead."""
  sizes = np.array([1e3, 1e4, 1e5, 1e6, 1e9])
  errors = 10**2.0704 * np.log10(sizes) ** -0.9434 / 100
  np.testing.assert_allclose(
    100 * errors, [41.7, 31.8, 25.8, 21.7, 14.8], atol=0.05
  )
  law = growth.fit_law("log", sizes, errors)
  assert law.line.slope == pytest.approx(-0.9434)
  assert law.line.intercept == pytest.approx(2.0704)
  np.testing.assert_allclose(law.error_at(sizes), errors)


@pytest.mark.parametrize("form", list(growth.FORMS))
def test_laws_equal_scipy_and_their_intervals_cover(form):
  rng = np.random.default_rng(0)
  sizes = np.repeat(np.geomspace(20, 50_000, 8), 3)
  x = growth.FORMS[form](sizes)
  inside = 0
  for _ in range(200):
    errors = 10 ** (1.9 - 0.2 * x + rng.normal(scale=0.02, size=24)) / 100
    law = growth.fit_law(form, sizes, errors)
    new = 10 ** (1.9 - 0.2 * growth.FORMS[form](1e6) + rng.normal(scale=0.02))
    low, high = law.interval_at(1e6, coverage=0.9)
    inside += low <= new / 100 <= high
  assert stats.binomtest(inside, 200, 0.9).pvalue > 1e-3
  theirs = stats.linregress(x, np.log10(100 * errors))
  assert law.line.slope == pytest.approx(theirs.slope)
  assert law.line.slope_error == pytest.approx(theirs.stderr)
  miss = growth.extrapolation_error(form, sizes, errors, largest_fitted=5e3)
  assert abs(miss) < 0.2
  with pytest.raises(ValueError, match="errors above 0"):
    growth.fit_law(form, np.array([1, 5]), np.array([0.5, 0.1]))
  with pytest.raises(ValueError, match="Unknown form 'cubic'"):
    growth.fit_law("cubic", sizes, errors)


# Distances.


@pytest.mark.parametrize("ties", [False, True])
def test_detection_equals_scikit_learn(ties):
  rng = np.random.default_rng(0)
  inside, outside = rng.normal(size=700), rng.normal(0.8, size=300)
  if ties:
    inside, outside = np.round(inside, 1), np.round(outside, 1)
  found = ood.detect(inside, outside)
  truth = np.r_[np.zeros(700), np.ones(300)]
  scores = np.r_[inside, outside]
  assert found.auroc == pytest.approx(
    sklearn_metrics.roc_auc_score(truth, scores)
  )
  assert found.aupr == pytest.approx(
    sklearn_metrics.average_precision_score(truth, scores)
  )
  assert found.aupr_inside == pytest.approx(
    sklearn_metrics.average_precision_score(1 - truth, -scores)
  )
  false, true, _ = sklearn_metrics.roc_curve(
    truth, scores, drop_intermediate=False
  )
  assert found.fpr95 == pytest.approx(false[np.argmax(true >= 0.95)])
  with pytest.raises(ValueError, match="0 outside"):
    ood.detect(inside, np.array([]))


def test_distance_scores_are_means_medians_and_lasts():
  inside, _, _ = cases(50, 0, "q")
  outside, _, _ = cases(40, 1, "q")
  for k in (1, 4, 7):
    scores = ood.distance_scores(inside, k=k)
    distances = 1 - inside.similarities[:, :k].astype(float)
    np.testing.assert_allclose(scores["mean"], distances.mean(axis=1))
    np.testing.assert_allclose(scores["median"], np.median(distances, axis=1))
    np.testing.assert_allclose(scores["k-th"], distances[:, -1])
  by_k = ood.auroc_by_k(inside, outside)
  each = ood.detect_each(inside, outside, ks=(1, 4))
  assert by_k[3] == pytest.approx(each["k-th"][4].auroc)
  labels = np.arange(40) % 3 - 1
  by_class = ood.auroc_by_class(
    inside, outside, labels, k=4, class_names=("a", "b")
  )
  ours = ood.distance_scores(inside, k=4)["mean"]
  theirs = ood.distance_scores(outside, k=4)["mean"][labels == 1]
  assert set(by_class) == {"a", "b"}
  assert by_class["b"] == pytest.approx(ood.detect(ours, theirs).auroc)
  with pytest.raises(ValueError, match="k = 13"):
    ood.distance_scores(inside, k=13)


# Forgetting, latency, rows.


def test_forgetting_notices_what_is_left():
  rows, asked = embedded(60, 4), embedded(10, 5, "query")
  memory = vm.VisualMemory.from_embedded(rows)
  near = lambda memory: vm.search(asked.embeddings, memory, k=8)
  removed = rows.ids[:12]
  rebuilt = near(vm.VisualMemory.from_embedded(rows.take(range(12, 60))))
  before, after = near(memory), near(memory.remove(removed))
  found = unlearning.forgetting(before, after, rebuilt, removed=removed)
  assert found.complete and found.num_removed == 12
  assert (
    found.num_retrieved_before
    == np.isin(before.ids.astype(str), removed.astype(str)).sum()
  )
  left = unlearning.forgetting(before, before, rebuilt, removed=removed)
  assert not left.complete and left.num_retrieved_after > 0
  off = dataclasses.replace(
    rebuilt, similarities=np.nextafter(rebuilt.similarities, 2)
  )
  assert not unlearning.forgetting(before, after, off, removed=removed).complete


def test_utility_is_told_apart_by_class():
  labels = np.array([0, 0, 1, 1, 2])
  before, after = np.array([0, 1, 1, 1, 2]), np.array([0, 0, 0, 0, 2])
  found = unlearning.utility(before, after, labels, forgotten=labels == 1)
  assert found.retained_before == pytest.approx(2 / 3)
  assert found.retained_after == 1
  assert (found.forgotten_before, found.forgotten_after) == (1, 0)
  assert found.num_changed == 1
  nobody = unlearning.utility(before, after, labels, forgotten=labels > 5)
  assert nobody.forgotten_before is None
  with pytest.raises(ValueError, match="Every query"):
    unlearning.utility(before, after, labels, forgotten=labels >= 0)


def test_latency_is_of_the_calls_after_the_first():
  waits = iter([0.05, 0.001, 0.001, 0.001, 0.02])
  timed = latency.time_calls(
    lambda: __import__("time").sleep(next(waits)),
    repeats=4,
    per_call=10,
    warm_up=1,
  )
  assert 0.001 <= timed.median_s < 0.019 < timed.p95_s + 0.004
  assert timed.per_second == pytest.approx(10 / timed.median_s)


def test_neighbors_of_other_rows_are_refused():
  rows, asked = embedded(60, 6), embedded(10, 7, "query")
  memory = vm.VisualMemory.from_embedded(rows).remove(rows.ids[5:20])
  near = vm.search(asked.embeddings, memory, k=9)
  near.check_rows(memory.ids)
  for other in (rows.ids, memory.ids[:3], memory.ids[::-1]):
    with pytest.raises(ValueError, match="belong to another memory"):
      near.check_rows(other)
  neighbors(np.zeros((0, 3), int)).check_rows(rows.ids)
