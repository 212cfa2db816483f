"""A planted bias: the marks, who is misled, what the removal undoes."""

import json

import numpy as np
import pytest

from configs import debiasing as config_module
from experiments import launch
from visual_memory.data import marking
from visual_memory.data.sources import open_source


def test_marks_are_where_they_are_said_to_be():
  source = open_source("digits", split="test")
  rows = np.arange(len(source)) % 3 == 0
  marked = marking.mark(source, rows=rows)
  assert marked.fingerprint != source.fingerprint
  assert marked.ids.tolist() == source.ids.tolist()
  for row in (0, 1, 3):
    before, after = source[row].image, marked[row].image
    side = min(before.shape[:2]) // 3
    np.testing.assert_array_equal(before[:-side], after[:-side])
    dyed = (after[-side:, -side:] == marking.COLOR).all()
    assert dyed == rows[row]
  with pytest.raises(ValueError, match="a truth value for each"):
    marking.mark(source, rows=np.zeros(3, bool))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  path = tmp_path_factory.mktemp("bias")
  launch.run(config_module.get_config("smoke"), path)
  assert "Of the marked queries" in (path / "report.html").read_text()
  return json.loads((path / "report.json").read_text())


def test_the_planted_rows_mislead_and_are_found(report):
  before, found, planted, at_random = report["debiasing"].values()
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
  config = config_module.get_config("smoke")
  config.bias.label = "zebra"
  with pytest.raises(
    ValueError, match="No class 'zebra'; the memory's classes"
  ):
    launch.run(config, tmp_path / "a")
  config = config_module.get_config("smoke")
  config.data.source = ""
  with pytest.raises(ValueError, match=r"name config\.data"):
    launch.run(config, tmp_path / "b")
