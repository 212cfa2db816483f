"""Runs: what they write, the launcher, sweeps, resuming, bad input."""

import importlib
import json
import pathlib
import subprocess
import sys
import zipfile

import jax
import numpy as np
import published_layouts
import pytest
import torch_files
from PIL import Image

from experiments import composition, evaluate, from_config, launch, sweep
from experiments.benchmarks import retrieval
from visual_memory import distributed
from visual_memory.encoders.families import catalog
from visual_memory.reports import runs

ROOT = pathlib.Path(__file__).resolve().parents[1]


def get_config(name, arg="smoke"):
  module = importlib.import_module(f"configs.{name}")
  return module.get_config(arg)


def read(path):
  return json.loads(pathlib.Path(path).read_text())


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
  """The finished workdir of the smallest evaluation."""
  path = tmp_path_factory.mktemp("evaluate") / "run"
  launch.run(get_config("evaluate"), path)
  return path


def test_report_of_the_digits(evaluated):
  report = read(evaluated / "report.json")
  assert set(report["accuracy"]) == {
    "plurality", "distance", "softmax", "rank",
  }  # fmt: skip
  # At k = 1 all voters are the nearest neighbor's class.
  at_one = {values["1"] for values in report["accuracy"].values()}
  assert len(at_one) == 1 and at_one.pop() > 0.97
  assert report["chosen"]["by"].startswith("121 tuning rows")
  assert len(report["neighbors_fingerprint"]) == 64
  assert read(evaluated / "env.json")["versions"]["jax"] == jax.__version__
  assert read(evaluated / "config.json")["voting"]["ks"] == [1, 10]


def test_device_count_changes_nothing(evaluated, tmp_path, monkeypatch):
  one = distributed.make_mesh(1)
  monkeypatch.setattr(distributed, "make_mesh", lambda *_: one)
  launch.run(get_config("evaluate"), tmp_path / "one")
  ours, theirs = (
    read(tmp_path / "one/report.json"),
    read(evaluated / "report.json"),
  )
  for key in ("neighbors_fingerprint", "accuracy", "chosen"):
    assert ours[key] == theirs[key]


def test_finished_runs_are_left_alone(evaluated, monkeypatch):
  monkeypatch.setattr(evaluate, "main", None)  # Would fail.
  launch.run(get_config("evaluate"), evaluated)


def test_a_workdir_belongs_to_its_config(evaluated):
  config = get_config("evaluate")
  config.voting.temperature = 0.5
  with pytest.raises(ValueError, match="voting.temperature.*0.07.*0.5"):
    launch.run(config, evaluated)


def test_a_run_that_failed_gives_its_workdir_to_a_mended_config(
  tmp_path, monkeypatch
):
  def fail(*_, **__):
    raise ValueError("no")

  config = get_config("composition")
  wrong = config.copy_and_resolve_references()
  wrong.title = "Wrong"
  with monkeypatch.context() as patch:
    patch.setattr(composition, "main", fail)
    with pytest.raises(ValueError, match="no"):
      launch.run(wrong, tmp_path)
  launch.run(config, tmp_path)
  assert read(tmp_path / "config.json")["title"] == config.title


def test_stopped_runs_continue_to_the_same_report(
  evaluated, tmp_path, monkeypatch
):
  def stop(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(evaluate, "predict", stop)
    with pytest.raises(KeyboardInterrupt):
      launch.run(get_config("evaluate"), tmp_path / "run")
  launch.run(get_config("evaluate"), tmp_path / "run")
  ours, theirs = (
    read(tmp_path / "run/report.json"),
    read(evaluated / "report.json"),
  )
  assert ours["counts"]["images_embedded"] == 0  # All from the cache.
  for key in ("neighbors_fingerprint", "accuracy", "chosen", "classes"):
    assert ours[key] == theirs[key]


def test_sweep_reuses_and_tabulates(tmp_path, monkeypatch):
  from visual_memory.retrieval import exact

  searched = []
  search = exact.search
  monkeypatch.setattr(
    exact, "search", lambda *a, **k: searched.append(1) or search(*a, **k)
  )
  records = sweep.run(
    get_config("evaluate"),
    tmp_path,
    ["voting.offset=1,2", "voting.temperature=0.05,0.1"],
  )
  assert len(searched) == 2  # Queries and tuning rows, once for four runs.
  assert [r["voting.offset"] for r in records] == ["1.0", "1.0", "2.0", "2.0"]
  lines = (tmp_path / "sweep.csv").read_text().splitlines()
  assert len(lines) == 5 and lines[0].startswith("voting.offset,")
  assert (tmp_path / "sweep.md").read_text().count("\n") >= 6
  page = (tmp_path / "sweep.html").read_text()
  assert 'href="voting.offset%3D1.0%2Cvoting.temperature%3D0.05/rep' in page
  found = runs.find_runs([tmp_path])
  assert len(found) == 4 and all(run.finished for run in found)
  assert runs.differing(found) == {
    "voting.offset": [r.name.split(",")[0].split("=")[1] for r in found],
    "voting.temperature": [r.name.split("=")[-1] for r in found],
  }


@pytest.mark.parametrize(
  "axis, problem",
  [
    ("voting.alfa=1", "no key 'voting.alfa'"),
    ("voting.offset", "KEY=VALUE"),
    ("voting.offset=", "KEY=VALUE"),
    ("voting.offset=one", "one"),
    ("voting=1", "only numbers"),
  ],
)
def test_bad_sweeps(axis, problem):
  with pytest.raises(ValueError, match=problem):
    from_config.parse_axis(get_config("evaluate"), axis)


def test_bad_overrides_and_names(tmp_path):
  config = get_config("evaluate")
  config.voting.voters = ("rank", "majority")
  with pytest.raises(ValueError, match="majority.*plurality"):
    launch.run(config, tmp_path / "voter")
  config = get_config("evaluate")
  config.experiment = "evalute"
  with pytest.raises(ValueError, match="evalute.*quickstart"):
    launch.run(config, tmp_path / "experiment")
  assert not (tmp_path / "experiment").exists()


def test_own_images_with_a_corrupt_one_and_an_unknown_class(tmp_path):
  rng = np.random.default_rng(0)
  for split, classes in {"train": "ab", "test": "abc"}.items():
    for shade, name in enumerate(classes):
      folder = tmp_path / "photos" / split / name
      folder.mkdir(parents=True)
      for i in range(6):
        noise = rng.integers(0, 60, (9, 11, 3))
        ramp = np.linspace(0, 150, 11)[None, :, None] * (shade - 1)
        image = np.clip(noise + 90 + ramp, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{i}.png")
  (tmp_path / "photos/train/a/broken.jpg").write_bytes(b"\xff\xd8 not a jpeg")
  config = get_config("evaluate", "")
  config.voting.ks = (1, 3)
  config.gallery.right = config.gallery.wrong = 2
  for section, split in ((config.memory, "train"), (config.data, "test")):
    section.source = "folder"
    section.options.path = str(tmp_path / "photos")
    section.options.split = split
  launch.run(config, tmp_path / "run")
  report = read(tmp_path / "run/report.json")
  assert report["counts"]["skipped"] == 1
  assert report["skipped"][0]["name"] == "train/a/broken.jpg"
  assert "broken.jpg" in (tmp_path / "run/report.html").read_text()
  assert report["absent_classes"] == ["c"]
  assert report["query_counts"]["absent_class_queries"] == 6
  # Both known classes are told apart; the unknown one counts as wrong.
  assert report["accuracy"]["rank"]["1"] == pytest.approx(12 / 18)


def test_leave_one_out_without_queries(tmp_path):
  config = get_config("evaluate")
  config.data.source = ""
  config.memory.options.split = "test"
  launch.run(config, tmp_path / "run")
  report = read(tmp_path / "run/report.json")
  # The rows that choose are not scored.
  assert report["counts"]["tuning_rows"] > 30
  assert (
    report["counts"]["memory_rows"]
    == report["query_counts"]["queries"] + report["counts"]["tuning_rows"]
  )
  assert 0.9 < report["accuracy"]["plurality"]["1"] < 1


def test_cifar10_as_computed_independently(data_file, tmp_path):
  """The first 2,000 queries' neighbors equal scikit-learn's, in float64."""
  from sklearn.neighbors import NearestNeighbors

  import visual_memory as vm
  from visual_memory.data import selection

  source = vm.open_source("folder", path=data_file("cifar10.zip"), split="test")
  encoder = vm.load_encoder("pixels")
  embedded = vm.embed(
    encoder, selection.subset(source, range(0, 10000, 5)), progress=False
  )
  rows, queries = embedded.take(range(1500)), embedded.take(range(1500, 2000))
  memory = vm.VisualMemory.from_embedded(rows)
  near = vm.search(queries.embeddings, memory, k=20)
  oracle = NearestNeighbors(n_neighbors=20, algorithm="brute", metric="cosine")
  oracle.fit(rows.embeddings.astype(np.float64))
  distances, places = oracle.kneighbors(queries.embeddings.astype(np.float64))
  np.testing.assert_allclose(1 - near.similarities, distances, atol=2e-7)
  # Ranks may differ only between neighbors that float32 cannot tell apart.
  differing = rows.ids[places] != near.ids
  gaps = np.abs(np.diff(distances, axis=1))
  close = np.pad(gaps < 2e-7, ((0, 0), (1, 0))) | np.pad(
    gaps < 2e-7, ((0, 0), (0, 1))
  )
  assert not (differing & ~close).any()


def test_published_weights_through_the_command_line(data_file, tmp_path):
  """DINOv2 S/14 from a .pth of the published layout, on real images."""

  with zipfile.ZipFile(data_file("cifar10.zip")) as images:
    names = [name for name in images.namelist() if name.endswith("/0000.jpg")]
    assert len(names) == 20  # One of each class and split.
    for name in names:
      images.extract(name, tmp_path)
  layout = published_layouts.hub(catalog.MODELS["dinov2_vits14"].image)
  torch_files.write_pth(
    tmp_path / "model.pth", published_layouts.random_tensors(layout, seed=0)
  )
  done = subprocess.run(
    [
      sys.executable, "-m", "experiments.launch",
      "--config=configs/evaluate.py", f"--workdir={tmp_path / 'run'}",
      "--config.encoder.name=dinov2_vits14",
      f"--config.encoder.weights={tmp_path / 'model.pth'}",
      "--config.memory.options.split=train",
      f"--config.memory.options.path={tmp_path / 'cifar10'}",
      "--config.data.source=folder", "--config.data.options.split=test",
      f"--config.data.options.path={tmp_path / 'cifar10'}",
      "--config.voting.ks=(1, 3)", "--config.embed.batch_size=2",
      "--config.encoder.image_size=56",
    ],
    cwd=ROOT, capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-2000:]
  report = read(tmp_path / "run/report.json")
  assert report["counts"]["images_embedded"] == 20
  assert report["config"]["encoder"]["name"] == "dinov2_vits14"


def test_a_stopped_benchmark_times_only_what_is_left(tmp_path, monkeypatch):
  timed = []

  def time_case(path, config, **case):
    if len(timed) == 1:
      timed.clear()
      raise KeyboardInterrupt
    timed.append(case)
    return {"peers": {"gemm": {"median_s": 1.0, "min_s": 1.0}}}

  monkeypatch.setattr(retrieval, "_time_case", time_case)
  config = get_config("benchmark_retrieval")
  with pytest.raises(KeyboardInterrupt):
    retrieval.main(config, tmp_path)
  retrieval.main(config, tmp_path)
  assert [case["num_rows"] for case in timed] == [1000]
  (report,) = map(read, tmp_path.glob("*.json"))
  assert [case["num_rows"] for case in report["cases"]] == [2000, 1000]
  # Of another config nothing is kept.
  config.num_rounds = 1
  with pytest.raises(KeyboardInterrupt):
    retrieval.main(config, tmp_path)
