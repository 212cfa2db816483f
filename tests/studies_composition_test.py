"""Pictures of two objects of one's own; a linear probe's calibration."""

import json

import numpy as np
import pytest
from PIL import Image

from configs import composition, reliability
from experiments import launch
from visual_memory.analysis import calibration
from visual_memory.analysis.composition import side_by_side
from visual_memory.data.sources import open_source
from visual_memory.probes import logistic_regression


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
