"""Neighbor files: published JSON and compact, and studies from them alone."""

import copy
import functools
import importlib
import json
import tracemalloc

import numpy as np
import pytest

from experiments import launch
from visual_memory.retrieval import (
  neighbor_records,
  published_files,
  record_checks,
)

NUM_ROWS, NUM_QUERIES, K = 500, 40, 100


def entries(*, num_queries=NUM_QUERIES, real=False, doubles=False, seed=0):
  """A published file's content, made without any code under test."""
  rng = np.random.default_rng(seed)
  row_class = rng.integers(0, 20, NUM_ROWS)
  name = lambda row: f"n{row_class[row]:08d}_{row}.JPEG"
  content = {}
  for query in rng.permutation(num_queries):
    distances = np.sort(rng.random(K))
    if not doubles:
      distances = distances.astype(np.float32).astype(np.float64)
    rows = rng.choice(NUM_ROWS, K, replace=False)
    label = int(rng.integers(0, 20))
    image_id = f"ILSVRC2012_val_{query:08d}.JPEG"
    content[image_id] = {
      "featurizer": "dinov2_vitl14",
      "image_id": image_id,
      "image_class": [label, 3][: query % 3] if real else label,
      "neighbor_image_ids": [name(row) for row in rows],
      "neighbor_classes": [int(row_class[row]) for row in rows],
      "neighbor_distances": distances.tolist(),
    }
  return content


def written(tmp_path, content, name="in.json"):
  path = tmp_path / name
  path.write_text(json.dumps(content))
  return path


@pytest.mark.parametrize(
  "options", [{}, {"real": True}, {"doubles": True}], ids=str
)
def test_there_and_back_loses_nothing(tmp_path, options):
  content = entries(num_queries=200, **options)
  path = written(tmp_path, content)
  records = published_files.read_published(path)
  compact, out = tmp_path / "compact.npz", tmp_path / "out.json"
  neighbor_records.save_records(compact, records)
  published_files.write_published(out, neighbor_records.load_records(compact))
  assert out.read_bytes() == path.read_bytes()
  ratio = path.stat().st_size / compact.stat().st_size
  assert ratio > (3.0 if "doubles" in options else 5.0)


def test_the_neighbors_are_those_of_the_file(tmp_path):
  content = entries()
  records = published_files.read_published(written(tmp_path, content))
  assert list(records.query_ids) == list(content)
  for query, entry in enumerate(content.values()):
    near = records.near
    assert near.ids[query].tolist() == entry["neighbor_image_ids"]
    assert near.labels[query].tolist() == entry["neighbor_classes"]
    np.testing.assert_array_equal(
      near.similarities[query],
      np.float32(1 - np.array(entry["neighbor_distances"])),
    )
    assert records.query_labels[query] == entry["image_class"]
  assert records.featurizer == "dinov2_vitl14"
  rows = np.array([list(content)[0]] + sorted(set(near.ids.ravel())), object)
  again = published_files.read_published(tmp_path / "in.json", row_ids=rows)
  np.testing.assert_array_equal(again.row_ids, rows)
  np.testing.assert_array_equal(again.near.ids, near.ids)


def test_label_sets_survive_empty_ones_too(tmp_path):
  content = entries(real=True)
  records = published_files.read_published(written(tmp_path, content))
  assert [list(x) for x in records.label_sets] == [
    entry["image_class"] for entry in content.values()
  ]
  assert any(not labels for labels in records.label_sets)


def test_half_precision_is_smaller_and_says_so(tmp_path):
  records = published_files.read_published(written(tmp_path, entries()))
  neighbor_records.save_records(tmp_path / "exact.npz", records)
  neighbor_records.save_records(
    tmp_path / "half.npz", records, precision="float16"
  )
  size = lambda name: (tmp_path / name).stat().st_size
  assert size("half.npz") < 0.8 * size("exact.npz")
  half = neighbor_records.load_records(tmp_path / "half.npz")
  np.testing.assert_allclose(half.values, records.values, atol=5e-4)
  np.testing.assert_array_equal(half.positions, records.positions)
  with pytest.raises(ValueError, match="float8"):
    neighbor_records.save_records(
      tmp_path / "x.npz", records, precision="float8"
    )


def test_reading_holds_a_few_entries_at_a_time(tmp_path):
  path = written(tmp_path, entries(num_queries=1200))
  published_files.read_published(path)  # Imports are not counted.
  tracemalloc.start()
  records = published_files.read_published(path)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  held = records.positions.nbytes + records.values.nbytes
  assert path.stat().st_size > 5 * held
  assert peak < 5 * held + 2_000_000  # A chunk of entries as Python lists.


def test_a_query_is_taken_out_of_its_own_neighbors(tmp_path):
  content = entries()
  ids = list(content)
  inside, outside = ids[0], ids[1]
  own = content[inside]["neighbor_image_ids"]
  own[3] = inside  # The fourth, after exact duplicates.
  content[inside]["neighbor_classes"][3] = 7
  records = published_files.read_published(
    written(tmp_path, content)
  ).without_self()
  assert records.k == K - 1 and inside not in records.near.ids[0]
  assert records.near.ids[0].tolist() == own[:3] + own[4:]
  assert (
    records.near.ids[1].tolist() == content[outside]["neighbor_image_ids"][:-1]
  )


def damaged(content, change):
  first = next(iter(content.values()))
  change(content, first)
  return content


@pytest.mark.parametrize(
  "change, error",
  [
    (
      lambda c, e: e["neighbor_distances"].__setitem__(5, 0.0),
      "not in order",
    ),
    (
      lambda c, e: e["neighbor_distances"].pop(),
      r"\[99, 100\] neighbors, others have 99",
    ),
    (lambda c, e: e.pop("featurizer"), "has no featurizer"),
    (lambda c, e: e.update(image_id="x"), "is called 'x'"),
    (lambda c, e: e.update(image_id="x" * 9999), r"is called 'x+\.\.\.x+'"),
    (lambda c, e: e.update(featurizer="y" * 9999), r"others by 'y+\.\.\.y+'"),
    (lambda c, e: e.update(featurizer="x"), "embedded by 'dinov2_vitl14'"),
    (
      lambda c, e: e["neighbor_classes"].__setitem__(0, 77),
      "elsewhere 77",
    ),
    (
      lambda c, e: e["neighbor_distances"].__setitem__(0, "near"),
      "'near' in its neighbor_distances is not a distance",
    ),
    (
      lambda c, e: e["neighbor_classes"].__setitem__(0, 2**40),
      "1099511627776 in its neighbor_classes is not a class",
    ),
    (
      lambda c, e: e["neighbor_image_ids"].__setitem__(0, 3),
      "3 in its neighbor_image_ids is not a text",
    ),
    (lambda c, e: e.update(image_class=1.5), "1.5 is no class"),
    (lambda c, e: e.update(image_class=[True]), "True. is no class"),
    (lambda c, e: e.update(neighbor_classes={}), "classes are no list"),
    (lambda c, e: e.update(featurizer=None), "featurizer is no text"),
  ],
)
def test_broken_entries_are_named(tmp_path, change, error):
  path = written(tmp_path, damaged(entries(), change))
  with pytest.raises(ValueError, match=f"(?s)in.json.*image.*{error}"):
    published_files.read_published(path)


def test_broken_files_are_named(tmp_path):
  path = written(tmp_path, entries())
  whole = path.read_bytes()
  cut = tmp_path / "cut.json"
  cut.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ValueError, match="cut.json.*cut off"):
    published_files.read_published(cut)
  cut.write_bytes(b"")
  with pytest.raises(ValueError, match="cut off"):
    published_files.read_published(cut)
  cut.write_bytes(b"{}")
  with pytest.raises(ValueError, match="holds no image"):
    published_files.read_published(cut)
  cut.write_bytes(b"{'a': }")
  with pytest.raises(ValueError, match="no neighbor JSON|cut off"):
    published_files.read_published(cut)
  cut.write_bytes(whole[:-1] + b", " + whole[1:])  # Every image twice.
  with pytest.raises(ValueError, match="Duplicate id"):
    published_files.read_published(cut)
  with pytest.raises(ValueError, match="'n.*JPEG' is not in the memory"):
    published_files.read_published(path, row_ids=["a", "b"])
  with pytest.raises(FileNotFoundError, match="absent.json"):
    published_files.read_published(tmp_path / "absent.json")


def test_broken_compact_files_are_named(tmp_path):
  records = published_files.read_published(written(tmp_path, entries()))
  path = tmp_path / "compact.npz"
  neighbor_records.save_records(path, records)
  with pytest.raises(ValueError, match="500 rows.*unknown to the memory"):
    neighbor_records.load_records(path, row_ids=["a"])
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(ValueError, match="not a whole neighbor file"):
    neighbor_records.load_records(path)
  given = dict(
    kind="similarities", query_ids=["q"], query_labels=[0],
    row_ids=["a", "b"], row_labels=[0, 0], class_names=["x"], featurizer="f",
  )  # fmt: skip
  make = lambda places, values, **other: neighbor_records.neighbor_records(
    np.array([places], np.int32), np.array([values]), **(given | other)
  )
  make([1, 0], [0.5, 0.5])
  for arguments, error in (
    (([0, 1], [0.5, 0.6]), "'q' are not in order"),
    (([0, 1], [0.5, -1e30]), r"'q' are -1e\+30.*below 1e\+30"),
    (([0, 1], [0.5, np.nan]), "'q' are nan at neighbor 1"),
    (([0, 1], [np.nan, 0.5]), "'q' are nan at neighbor 0"),
    (([0, 1], [np.inf, 0.5]), "'q' are inf at neighbor 0"),
    (([], []), "do not fit"),
    (([0, 2], [0.5, 0.4]), "Neighbor 1 of query 'q' is row 2"),
  ):
    with pytest.raises(ValueError, match=error):
      make(*arguments)
  for sets, error in (
    ([[1]], "labels of query 'q' are .1., but there are 1 class names"),
    ([[-1]], "labels of query 'q' are .-1."),
    ([[True]], "labels of query 'q' are .True."),
    ([[0], [0]], "do not fit"),
  ):
    with pytest.raises(ValueError, match=error):
      make([0, 1], [0.5, 0.4], label_sets=sets)
  with pytest.raises(ValueError, match="Positions are float64"):
    record_checks.as_numbers(np.zeros((1, 2)), np.zeros((1, 2)))
  with pytest.raises(ValueError, match="labels must be integers"):
    make([0, 1], [0.5, 0.4], row_labels=np.array([0, 0.5]))
  with pytest.raises(ValueError, match="holds a NUL"):
    make([0, 1], [0.5, 0.4], row_ids=["a", "b\0c"])
  with pytest.raises(ValueError, match="'x' twice"):
    make([0, 1], [0.5, 0.4], class_names=["x", "x"])
  with pytest.raises(ValueError, match="row 1 has label 4"):
    make([0, 1], [0.5, 0.4], row_labels=[0, 4])
  with pytest.raises(ValueError, match="do not fit"):
    make([0, 1], [0.5, 0.4], query_labels=[0, 0])


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


@pytest.fixture(scope="module")
def report_of_images(tmp_path_factory):
  """A function from an experiment's name to its report of the images."""

  @functools.cache
  def report(name):
    config = config_of(name)
    if name == "reliability":
      config.probe.strengths = ()  # Probes learn from embeddings.
    return run(config, tmp_path_factory.mktemp(name) / "images")

  return lambda name: copy.deepcopy(report(name))


@pytest.mark.parametrize(
  ("name", "form"),
  [
    ("privacy", "npz"),
    ("pruning", "npz"),
    ("reliability", "npz"),
    ("privacy", "json"),  # Files are opened alike for all of them.
    pytest.param("pruning", "json", marks=pytest.mark.slow),
    pytest.param("reliability", "json", marks=pytest.mark.slow),
  ],
)
def test_the_report_is_the_same(files, report_of_images, tmp_path, name, form):
  config = config_of(name)
  config.neighbors.queries = str(files / f"queries.{form}")
  config.neighbors.rows = str(files / f"rows.{form}")
  config.encoder.name = "no encoder is needed"
  config.memory.source = config.data.source = "nor images"
  found = run(config, tmp_path / "files")
  expected = report_of_images(name)
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
