"""Encoders compared: one figure for all, and rows for the same error."""

import json

import numpy as np
import pytest

from configs import evaluate, privacy, scaling
from experiments import launch
from visual_memory.analysis import growth
from visual_memory.studies import growing, opening
from visual_memory.studies.study_settings import EncoderSettings, StudySettings


def test_rows_for_an_error_lie_on_the_law():
  """error = N ** -0.5 is a line in log space: any size is found exactly."""
  sizes = np.array([10, 100, 100, 1000])
  errors = sizes**-0.5
  find = lambda error: growth.rows_for_error(error, sizes, errors)
  assert find(0.05) == pytest.approx(400)
  assert find(0.1) == pytest.approx(100)
  assert find(0.5) == 10  # Reached by the smallest: no less is known.
  assert find(0.01) is None
  # Errors of one size are averaged; one of zero has no logarithm.
  flat = growth.rows_for_error(0.375, sizes, np.array([0.5, 0.5, 0.25, 0]))
  assert flat == pytest.approx(100)
  assert growth.rows_for_error(0.1, sizes, np.zeros(4)) == 10


def test_rows_for_the_same_error_are_told_by_encoder():
  point = lambda rows, accuracy: growth.GrowthPoint(
    num_rows=rows, k=1, accuracy=accuracy, published=accuracy
  )
  points = {
    "weak": {"rank": [point(10, 0.2), point(1000, 0.6)]},
    "strong": {"rank": [point(10, 0.2), point(100, 0.6), point(1000, 0.8)]},
  }
  table, found = growing.same_error(points)
  assert found["rank"]["error"] == pytest.approx(0.4)
  assert found["rank"]["rows"]["weak"] == pytest.approx(1000)
  assert found["rank"]["rows"]["strong"] == pytest.approx(100)
  assert table.rows == (("rank", "40.0", "1,000", "100"),)


def test_a_size_is_one_point_of_a_law_however_often_it_is_measured():
  point = lambda rows, accuracy: growth.GrowthPoint(
    num_rows=rows, k=1, accuracy=accuracy, published=accuracy
  )
  once = [point(n, 1 - n**-0.2) for n in (10, 100, 1000, 10_000)]
  error = 10_000**-0.2
  apart = [point(10_000, 1 - error + d) for d in (-0.02, 0, 0.02) * 5]
  laws, misses = growing.laws_of({"rank": once})
  again, miss = growing.laws_of({"rank": once[:-1] + apart})
  assert again["rank"]["power"].line.num_points == 4
  for form, law in laws["rank"].items():
    assert again["rank"][form].error_at(1e6) == pytest.approx(law.error_at(1e6))
    assert miss["rank"][form] == pytest.approx(misses["rank"][form])


def test_growth_ends_with_the_full_memory_and_measures_it_once(tmp_path):
  config = scaling.get_config("smoke")
  config.growth.per_class, config.growth.seeds = (5, 50, 1000), (0, 1)
  launch.run(config, tmp_path)
  report = json.loads((tmp_path / "report.json").read_text())
  sizes = [point["num_rows"] for point in report["growth"]["rank"]["points"]]
  rows, tuning = (report["counts"][k] for k in ("memory_rows", "tuning_rows"))
  without = rows - tuning  # Every row that can be in a memory of its own.
  assert sizes == [50, 500, without, 50, 500, rows]
  last = report["growth"]["rank"]["points"][-1]
  assert last["accuracy"] == report["accuracy"]["rank"].get(
    str(last["k"]), last["accuracy"]
  )
  assert report["growth"]["rank"]["laws"]["log"]["r_squared"] <= 1
  with pytest.raises(ValueError, match=r"name config\.data"):
    config.data.source = ""
    launch.run(config, tmp_path / "alone")


def test_settings_by_encoder():
  settings = StudySettings(
    encoder=EncoderSettings(name="pixels"),
    encoders={
      "own": EncoderSettings(name=""), "small": EncoderSettings(name="pixels")
    },
  )  # fmt: skip
  assert list(opening.by_encoder(settings)) == ["pixels", "small"]
  for own in opening.by_encoder(settings).values():
    assert not own.encoders and own.encoder.name == "pixels"


def test_a_page_of_two_encoders(tmp_path):
  config = privacy.get_config("smoke")
  config.encoders.own = evaluate.encoder("pixels", size=4)
  launch.run(config, tmp_path)
  report = json.loads((tmp_path / "report.json").read_text())
  assert list(report["encoders"]) == ["pixels", "own"]
  assert report["encoders"]["pixels"]["privacy"] == report["privacy"]
  assert report["encoders"]["own"]["privacy"] != report["privacy"]
  assert "Encoders compared" in (tmp_path / "report.html").read_text()
  assert (tmp_path / "figures/encoders_privacy.svg").exists()
