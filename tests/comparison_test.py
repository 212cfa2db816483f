"""Encoders compared: standings, chance, sizes, one figure for all."""

import json

import jax
import numpy as np
import pytest
from scipy import stats

from configs import comparison as comparison_config
from configs import evaluate, privacy, scaling
from experiments import launch
from visual_memory.analysis import aggregation, choosing, growth
from visual_memory.analysis.intervals import bootstrap_mean
from visual_memory.pretraining import dictionary, random_dictionary
from visual_memory.reports.sections import encoders_overlaid as overlaid
from visual_memory.retrieval import exact, scann
from visual_memory.studies import dictionary as dictionary_lib
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
  config.growth.per_class, config.growth.seeds = (5, 25, 1000), (0, 1)
  launch.run(config, tmp_path)
  report = json.loads((tmp_path / "report.json").read_text())
  sizes = [point["num_rows"] for point in report["growth"]["rank"]["points"]]
  rows, tuning = (report["counts"][k] for k in ("memory_rows", "tuning_rows"))
  without = rows - tuning  # Every row that can be in a memory of its own.
  assert sizes == [50, 250, without, 50, 250, rows]
  last = report["growth"]["rank"]["points"][-1]
  assert last["accuracy"] == report["accuracy"]["rank"].get(
    str(last["k"]), last["accuracy"]
  )
  assert report["growth"]["rank"]["laws"]["log"]["r_squared"] <= 1
  with pytest.raises(ValueError, match=r"name config\.data"):
    config.data.source = ""
    launch.run(config, tmp_path / "alone")


def test_growth_by_approximate_search_says_its_recall(tmp_path, monkeypatch):
  """A double that answers exactly, and calls itself worse by its rows."""

  class Index:
    def __init__(self, memory, *, k):
      self.memory = memory

    def search(self, rows, *, k, exclude_self, num_audited):
      near = exact.search(rows, self.memory, k=k, exclude_self=exclude_self)
      recall = 1 - len(self.memory) / 10_000
      return scann.Approximate(
        neighbors=near, recall=recall, num_audited=num_audited
      )

  monkeypatch.setattr(scann.ScannIndex, "build", Index)
  config = scaling.get_config("smoke")
  config.growth.per_class, config.growth.seeds = (5, 50), (0,)
  found = {}
  for backend in ("exact", "scann"):
    config.retrieval.backend = backend
    launch.run(config, tmp_path / backend)
    found[backend] = json.loads(
      (tmp_path / backend / "report.json").read_text()
    )
  assert found["scann"]["growth"] == found["exact"]["growth"]
  counts = found["scann"]["counts"]
  # Two parts of the memory, then the whole twice: test and tuning queries.
  assert counts["audited_queries"] == 4 * config.retrieval.num_audited
  assert counts["scann_recall_measured"] == pytest.approx(
    1 - counts["memory_rows"] / 10_000
  )


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


def test_bins_of_few_queries_are_not_drawn():
  bins = {"confidence": [0.2, 0.6], "accuracy": [0, 0.5], "counts": [1, 10]}
  assert overlaid.of_bins(bins) == {60: 50}
  lines = {name: overlaid.of_bins(bins | {"counts": [1, 9]}) for name in "ab"}
  none = overlaid.Overlay(name="x", lines=lines, x_label="x", y_label="y")
  assert overlaid.sections([none])[0].figures == ()


SETTINGS = dictionary.DictionarySettings(
  size=12, patch=3, num_words=10, grid=2, threshold=0.25, dim=8,
  num_patches=400, rounds=3, patch_ridge=0.1, ridge=0.5,
)  # fmt: skip
KEY = jax.random.key(3)


def scored(right):
  right = np.asarray(right, bool)
  return choosing.Scored(
    accuracy=bootstrap_mean(right, seed=0),
    right=right,
    predictions=right.astype(np.int32),
  )


def test_standings_are_paired():
  base = [1] * 50 + [0] * 50
  better = [1] * 45 + [0] * 5 + [1] * 20 + [0] * 30
  found = aggregation.rank_encoders(
    {"base": scored(base), "better": scored(better), "same": scored(base)},
    baseline="base",
    seed=0,
  )
  assert list(found) == ["better", "base", "same"]
  assert found["base"].gain is None
  gain = found["better"].gain
  assert gain.interval.mean == pytest.approx(0.15)
  assert 0 < gain.interval.low < 0.15 < gain.interval.high
  # Twenty answers became right, five became wrong.
  tail = stats.binom.cdf(5, 25, 0.5)
  assert (gain.better, gain.worse) == (20, 5)
  assert gain.p_value == pytest.approx(2 * tail)
  same = found["same"].gain
  assert same.p_value == 1 and same.interval.high == 0


def test_what_cannot_be_compared_is_refused():
  one = {"a": scored([1, 0]), "b": scored([1, 0, 1])}
  with pytest.raises(ValueError, match="'c' is not among.*a, b"):
    aggregation.rank_encoders(one, baseline="c", seed=0)
  with pytest.raises(ValueError, match="b answered 3 queries, a 2"):
    aggregation.rank_encoders(one, baseline="a", seed=0)


def test_a_drawn_dictionary_has_seen_nothing():
  params = random_dictionary.draw(SETTINGS, key=KEY)
  assert {name: leaf.shape for name, leaf in params.items()} == {
    "kernel": (27, 10), "bias": (10,), "mean": (40,), "projection": (40, 8),
  }  # fmt: skip
  words = params["kernel"].astype(np.float64)
  np.testing.assert_allclose(words.sum(axis=0), 0, atol=1e-6)
  np.testing.assert_allclose((words**2).sum(axis=0), 1, atol=1e-6)
  axes = params["projection"].astype(np.float64)
  np.testing.assert_allclose(axes.T @ axes, np.eye(8), atol=1e-6)
  again = random_dictionary.draw(SETTINGS, key=KEY)
  other = random_dictionary.draw(SETTINGS, key=jax.random.key(4))
  np.testing.assert_array_equal(params["kernel"], again["kernel"])
  assert not np.allclose(params["kernel"], other["kernel"])


def test_random_words_among_whitened_patches():
  random = np.random.default_rng(1)
  coarse = random.integers(0, 256, (60, 6, 6, 3), dtype=np.uint8)
  images = coarse.repeat(2, axis=1).repeat(2, axis=2)
  params = random_dictionary.learn_whitening(images, SETTINGS, key=KEY)
  # What makes a word a row of the kernel, by NumPy's own covariance.
  patches = dictionary.random_patches(images, SETTINGS, key=KEY)
  variances, axes = np.linalg.eigh(np.cov(patches.T.astype(np.float64), ddof=0))
  back = (axes * np.sqrt(variances + SETTINGS.patch_ridge)) @ axes.T
  words = back @ params["kernel"]
  np.testing.assert_allclose((words**2).sum(axis=0), 1, rtol=1e-4)
  np.testing.assert_allclose(
    params["bias"], patches.mean(axis=0) @ params["kernel"], atol=1e-5
  )
  values = SETTINGS.apply(params, images / np.float32(255))
  covariance = np.cov(np.asarray(values, np.float64).T)
  assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 2e-3
  with pytest.raises(ValueError, match="more images"):
    random_dictionary.learn_whitening(images[:8], SETTINGS, key=KEY)


def test_a_stopped_comparison_learns_only_what_is_missing(
  tmp_path, monkeypatch
):
  config = comparison_config.get_config("smoke")
  config.left_out, config.whitened = ("pixels_8",), (1.0,)
  learned = []
  learn_from = dictionary_lib.learn
  monkeypatch.setattr(
    dictionary_lib, "learn",
    lambda own, *rest, **named: (
      learned.append(own.learn) or learn_from(own, *rest, **named)
    ),
  )  # fmt: skip

  def stop(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(random_dictionary, "learn_whitening", stop)
    with pytest.raises(KeyboardInterrupt):
      launch.run(config, tmp_path / "run")
  launch.run(config, tmp_path / "run")
  assert learned == ["all", "nothing", "whitening", "whitening"]
  report = json.loads((tmp_path / "run/report.json").read_text())
  # Those without weights, as the vision transformers, are left out.
  names = ("fractal_noise", "random", "random_words")
  assert set(report["encoders"]) == {
    f"{name}{way}" for name in names for way in ("", ", whitened")
  }
  assert report["counts"]["images_embedded"] == 0  # Of the baseline.
  for one in report["encoders"].values():
    assert one["num_weights"] == 27 * 16 + 16 + 64 + 64 * 16
    assert one["tasks"]["digits"]["accuracy"]["mean"] > 0.7


def test_learn_must_be_known(tmp_path):
  config = comparison_config.get_config("smoke")
  config.recipe.learn = "some"
  with pytest.raises(ValueError, match="recipe.learn is 'some'.*'whitening'"):
    launch.run(config, tmp_path / "a")
  assert not (tmp_path / "a").exists()
