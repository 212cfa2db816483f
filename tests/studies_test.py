"""Studies: classes in steps, planted biases, two objects, own labels."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import visual_memory as vm
from configs import class_sequence as config_module
from configs import composition, reliability
from configs import debiasing as debiasing_config
from experiments import launch
from visual_memory.analysis import calibration, choosing
from visual_memory.analysis.composition import side_by_side
from visual_memory.analysis.lifelong import (
  Course,
  answered_steps,
  steps_of_classes,
)
from visual_memory.data import relabeling
from visual_memory.data.sources import open_source
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.probes import logistic_regression
from visual_memory.studies import unlabeled_growth
from visual_memory.types import UNLABELED
from visual_memory.voting import weighting


def test_every_class_arrives_once():
  labels = np.repeat([0, 1, 2, 4, 5, 6, -1], 3)  # None of class 3.
  steps = steps_of_classes(labels, num_classes=8, num_steps=4, seed=0)
  assert steps[3] == steps[7] == -1
  assert sorted(np.bincount(steps[steps >= 0])) == [1, 1, 2, 2]
  other = steps_of_classes(labels, num_classes=8, num_steps=4, seed=1)
  assert (steps != other).any()
  np.testing.assert_array_equal(
    answered_steps(steps, [-1, 3, 0, 99]), [-1, -1, steps[0], -1]
  )
  for num_steps in (1, 7):
    with pytest.raises(ValueError, match="6 classes with rows cannot arrive"):
      steps_of_classes(labels, num_classes=8, num_steps=num_steps, seed=0)


def _course(*rows):
  return Course(
    name="", steps=np.array([0, 0, 1, 1, 2, 2]), seconds=(0.0,) * 3,
    right=np.array(rows, bool),
  )  # fmt: skip


def test_measures_are_those_of_the_definition():
  ours = _course([1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0])
  best = _course([1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1])
  accuracy = ours.accuracy
  assert np.isnan(accuracy[np.triu_indices(3, 1)]).all()
  np.testing.assert_allclose(
    accuracy[np.tril_indices(3)], [1, 0.5, 0.5, 0, 1, 0.5]
  )
  assert ours.so_far == pytest.approx([1, 0.5, 0.5])
  # Step 0 fell from 1 to 0; step 1 is at its best in the end.
  assert ours.forgetting == pytest.approx(0.5)
  assert ours.on_arrival == pytest.approx((1 + 0.5 + 0.5) / 3)
  assert ours.intransigence(best) == pytest.approx(0.5)
  assert best.forgetting == best.intransigence(best) == 0


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  config = config_module.get_config("smoke")
  config.sequence.steps = 5
  path = tmp_path_factory.mktemp("sequence")
  launch.run(config, path)
  return json.loads((path / "report.json").read_text())


def test_a_memory_forgets_little_and_a_fine_tuned_head_much(report):
  found = report["class_sequence"]
  memory, retrained, tuned = found.values()
  assert memory["accuracy"]["mean"] > 0.9
  assert memory["forgetting"] < 0.1 < 0.3 < tuned["forgetting"]
  assert tuned["accuracy"]["mean"] < retrained["accuracy"]["mean"]
  less = found["head, fine-tuned"]["memory_less_it"]
  assert less["mean"] == pytest.approx(
    memory["accuracy"]["mean"] - tuned["accuracy"]["mean"]
  )
  assert less["low"] > 0 and less["p_value"] < 1e-6
  assert retrained["behind_on_arrival"] == 0
  table = memory["after_each_step"]
  assert [sum(x is not None for x in row) for row in table] == [1, 2, 3, 4, 5]


def test_the_memory_in_the_end_is_the_memory_of_all_rows(report, tmp_path):
  """Whatever the order in which classes came."""
  config = config_module.get_config("smoke")
  config.sequence.steps, config.seed = 2, 0
  launch.run(config, tmp_path)
  other = json.loads((tmp_path / "report.json").read_text())
  assert (
    other["class_sequence"]["memory"]["accuracy"]
    == report["class_sequence"]["memory"]["accuracy"]
  )


def test_marks_are_where_they_are_said_to_be():
  source = open_source("digits", split="test")
  rows = np.arange(len(source)) % 3 == 0
  marked = relabeling.mark(source, rows=rows)
  assert marked.fingerprint != source.fingerprint
  assert marked.ids.tolist() == source.ids.tolist()
  for row in (0, 1, 3):
    before, after = source[row].image, marked[row].image
    side = min(before.shape[:2]) // 3
    np.testing.assert_array_equal(before[:-side], after[:-side])
    dyed = (after[-side:, -side:] == relabeling.COLOR).all()
    assert dyed == rows[row]
  with pytest.raises(ValueError, match="a truth value for each"):
    relabeling.mark(source, rows=np.zeros(3, bool))


@pytest.fixture(scope="module")
def debiased(tmp_path_factory):
  path = tmp_path_factory.mktemp("bias")
  launch.run(debiasing_config.get_config("smoke"), path)
  assert "Of the marked queries" in (path / "report.html").read_text()
  return json.loads((path / "report.json").read_text())


def test_the_planted_rows_mislead_and_are_found(debiased):
  before, found, planted, at_random = debiased["debiasing"].values()
  assert before["marked_told_the_class"] > 0.1  # Of the others next to none.
  assert found["marked_told_the_class"] < before["marked_told_the_class"]
  assert found["planted_among_removed"] > 0.5  # Of all rows one in twenty.
  assert found["planted_removed"] > 0
  change = found["change"]["marked"]
  assert change["low"] > 0
  assert planted["planted_removed"] == planted["planted_among_removed"] == 1
  assert at_random["rows_removed"] == found["rows_removed"]
  assert at_random["change"]["marked"]["mean"] < change["mean"]
  assert set(before["accuracy"]) == {"marked", "not marked", "all"}


def test_what_cannot_be_planted_is_refused(tmp_path):
  config = debiasing_config.get_config("smoke")
  config.bias.label = "zebra"
  with pytest.raises(
    ValueError, match="No class 'zebra'; the memory's classes"
  ):
    launch.run(config, tmp_path / "a")
  config = debiasing_config.get_config("smoke")
  config.data.source = ""
  with pytest.raises(ValueError, match=r"name config\.data"):
    launch.run(config, tmp_path / "b")


def _pictures(folder, names):
  """Two digits side by side, in a folder that says which, or not."""
  source = open_source("digits", split="test")
  first = [int(np.flatnonzero(source.labels == label)[0]) for label in (3, 8)]
  image = side_by_side(*(source[row].image for row in first))
  for name in names:
    (folder / name).mkdir(parents=True)
    Image.fromarray(image).save(folder / name / "a.png")


@pytest.mark.parametrize("names", [("3+8", "any"), ("any",)])
def test_own_pictures_are_shown_and_counted_where_they_say_what_they_show(
  tmp_path, names
):
  _pictures(tmp_path / "own", names)
  config = composition.get_config("smoke")
  config.pictures.source = "folder"
  config.pictures.options.path = str(tmp_path / "own")
  config.composition.shown = 2
  launch.run(config, tmp_path / "run")
  report = json.loads((tmp_path / "run" / "report.json").read_text())
  page = (tmp_path / "run" / "report.html").read_text()
  assert report["own pictures"] == len(names)
  assert (
    "One's own pictures" in page.replace("&#39;", "'") and "any/a.png" in page
  )
  if "3+8" in names:
    assert "3 + 8" in page and "plain search" in report["found_in_own"]
  else:
    assert report["found_in_own"] == {}


def test_a_picture_of_a_class_that_is_not_known_is_refused(tmp_path):
  _pictures(tmp_path / "own", ["3+zebra"])
  config = composition.get_config("smoke")
  config.pictures.source = "folder"
  config.pictures.options.path = str(tmp_path / "own")
  with pytest.raises(ValueError, match="'zebra', which the memory does not"):
    launch.run(config, tmp_path / "run")


def test_probabilities_and_their_scores_are_those_of_scikit_learn():
  from sklearn import linear_model, metrics

  rng = np.random.default_rng(0)
  rows = rng.normal(size=(300, 5)).astype(np.float32)
  labels = (rows[:, :3] + rng.normal(size=(300, 3))).argmax(axis=1)
  theirs = linear_model.LogisticRegression(C=1.0, max_iter=500, tol=1e-8)
  theirs.fit(rows, labels)
  ours = logistic_regression.fit(
    rows, labels, strength=1.0, num_classes=3, max_steps=500, tolerance=1e-6
  ).probabilities(rows)
  np.testing.assert_allclose(ours, theirs.predict_proba(rows), atol=1e-3)
  found = calibration.calibrated(ours, labels, num_bins=10)
  assert found.nll == pytest.approx(metrics.log_loss(labels, ours))
  assert found.brier == pytest.approx(
    np.mean(np.sum((ours - np.eye(3)[labels]) ** 2, axis=1))
  )
  assert found.bins.counts.sum() == found.adaptive_bins.counts.sum() == 300
  sure = calibration.calibrated(np.eye(3)[labels], labels, num_bins=10)
  assert sure.nll == sure.brier == sure.bins.ece() == 0


def test_a_linear_probe_stands_beside_the_votes(tmp_path):
  config = reliability.get_config("smoke")
  config.encoders.own.name = "pixels"
  config.encoders.own.options.size = 4
  launch.run(config, tmp_path)
  report = json.loads((tmp_path / "report.json").read_text())
  assert 0 <= report["confidence"]["linear"]["ece"] < 0.2
  assert "linear" not in report["encoders"]["own"]["confidence"]
  for name in ("reliability", "counts_of_neighbors", "entropy"):
    assert (tmp_path / f"figures/encoders_{name}.svg").exists()


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
