"""Studies from neighbor files alone say what studies from images say."""

import importlib
import json

import numpy as np
import pytest

from experiments import launch
from visual_memory.retrieval import neighbor_records


def config_of(name):
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  if name == "pruning":  # So few rows go that no query runs short.
    config.pruning.thresholds = config.pruning.net_harms = (6, 8)
  return config


def run(config, path):
  launch.run(config, path)
  return json.loads((path / "report.json").read_text())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  config = config_of("neighbor_files")
  config.voting.ks = (1, 60)
  path = tmp_path_factory.mktemp("files") / "run"
  run(config, path)
  return path


@pytest.mark.parametrize("form", ["npz", "json"])
@pytest.mark.parametrize("name", ["privacy", "pruning", "reliability"])
def test_the_report_is_the_same(files, tmp_path, name, form):
  config = config_of(name)
  config.neighbors.queries = str(files / f"queries.{form}")
  config.neighbors.rows = str(files / f"rows.{form}")
  config.encoder.name = "no encoder is needed"
  config.memory.source = config.data.source = "nor images"
  found = run(config, tmp_path / "files")
  of_images = config_of(name)
  if name == "reliability":
    of_images.probe.strengths = ()  # Probes learn from embeddings.
  expected = run(of_images, tmp_path / "images")
  assert found["neighbors_fingerprint"] == expected["neighbors_fingerprint"]
  for report in (found, expected):  # By name, which files do not know.
    report["encoders"] = list(report.get("encoders", {}).values())
  for key in set(expected) - {"timings", "counts", "config", "skipped"}:
    assert found[key] == expected[key], key
  assert found["counts"]["memory_rows"] == expected["counts"]["memory_rows"]


def open_from(files, tmp_path, name="privacy", **paths):
  config = config_of(name)
  config.neighbors.queries = str(files / "queries.npz")
  for key, value in paths.items():
    config.neighbors[key] = str(value)
  return run(config, tmp_path / "run")


def test_what_is_not_in_the_files_is_named(files, tmp_path):
  with pytest.raises(ValueError, match="name their file as neighbors.rows"):
    open_from(files, tmp_path, "pruning")
  config = config_of("privacy")
  config.neighbors.queries = str(files / "queries.npz")
  config.voting.ks = (1, 60)
  with pytest.raises(ValueError, match="holds 60 neighbors.*61 are needed"):
    run(config, tmp_path / "more")


def test_files_of_different_memories_are_refused(files, tmp_path):
  records = neighbor_records.load_records(files / "rows.npz")
  few = np.arange(len(records) - 1)
  part = neighbor_records.neighbor_records(
    records.positions[few], records.values[few], kind=records.kind,
    query_ids=records.query_ids[few], query_labels=records.query_labels[few],
    row_ids=records.row_ids, row_labels=records.row_labels,
    class_names=records.class_names, featurizer=records.featurizer,
  )  # fmt: skip
  neighbor_records.save_records(tmp_path / "part.npz", part)
  with pytest.raises(ValueError, match="1 rows.*unknown to the memory"):
    open_from(files, tmp_path, rows=tmp_path / "part.npz")


def test_a_search_needs_embeddings(files):
  from visual_memory.studies import cached_search

  with pytest.raises(ValueError, match="neighbor files hold no embeddings"):
    cached_search.NoSearch()(None, 5, leave_one_out=False)
