"""Classes that arrive in steps: measures by hand, learners as they should."""

import json

import numpy as np
import pytest

from configs import class_sequence as config_module
from experiments import launch
from visual_memory.analysis.class_sequence import (
  Course,
  answered_steps,
  steps_of_classes,
)


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
