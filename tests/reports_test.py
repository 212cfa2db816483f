"""Reports: honest numbers, how they are written, runs side by side."""

import base64
import csv
import dataclasses
import hashlib
import io
import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from reports_cases import (
  NAMES,
  make_gallery,
  make_neighbors,
  make_results,
)

from visual_memory import files
from visual_memory.analysis.intervals import Interval
from visual_memory.cli.main import main
from visual_memory.reports import gallery, runs, tables
from visual_memory.reports import results as results_lib
from visual_memory.retrieval.neighbor_files import neighbors_fingerprint


def test_accuracy_counts_absent_classes_and_leaves_unlabeled_out():
  found = make_results()
  # Five labeled queries. plurality: 3 right at k=1 (0, 1, 2), 3 at k=3.
  assert found.accuracy == {
    "plurality": {1: 3 / 5, 3: 3 / 5},
    "rank": {1: 3 / 5, 3: 4 / 5},
  }
  assert found.chosen_accuracy == 4 / 5
  assert (found.num_unlabeled, found.num_absent) == (1, 1)
  assert found.best() == ("rank", 3, 4 / 5)
  assert make_results(voter="plurality", k=1).best() == ("rank", 3, 4 / 5)


def test_confusion_agrees_with_a_loop():
  rng = np.random.default_rng(1)
  labels = rng.integers(-1, 5, 300)
  predictions = rng.integers(0, 5, (1, 300))
  found = make_results(
    predictions={"rank": predictions},
    labels=labels,
    ks=(3,),
    class_names=tuple("abcde"),
  )
  expected = np.zeros((5, 5), int)
  for label, prediction in zip(labels, predictions[0], strict=True):
    if label >= 0:
      expected[label, prediction] += 1
  matrix = found.confusion()
  np.testing.assert_array_equal(matrix, expected)
  right, counts = found.per_class()
  np.testing.assert_array_equal(counts, expected.sum(axis=1))
  np.testing.assert_array_equal(right, np.diag(expected))
  wrong = [
    (-expected[i, j], i, j) for i in range(5) for j in range(5) if i != j
  ]
  assert results_lib.most_confused(found, limit=4) == [
    ("abcde"[i], "abcde"[j], -count) for count, i, j in sorted(wrong)[:4]
  ]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"ks": (1,)}, r"shape \(2, 6\).*\(1, 6\)"),
    ({"voter": "best"}, "'best' at k=3.*plurality"),
    ({"k": 2}, "'rank' at k=2"),
    ({"labels": np.full(6, -1)}, "No query has a label"),
    ({"labels": np.full(6, 3)}, "3 to 3.*3 class names"),
    ({"class_names": ("one",)}, "predicts classes 0 to 1.*1 class names"),
  ],
)
def test_results_that_do_not_fit_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    make_results(**changes)


def test_fingerprint_is_what_its_docstring_says():
  near = make_neighbors()
  near.ids[0, 0] = "é"
  lines = [json.dumps(list(row)).replace(", ", ",") for row in near.ids]
  text = "".join(line + "\n" for line in lines)
  assert "\\u00e9" in text
  expected = hashlib.sha256(text.encode("ascii")).hexdigest()
  assert neighbors_fingerprint(near) == expected


def test_fingerprint_sees_order_and_boundaries():
  def fingerprint(ids):
    near = make_neighbors(len(ids), len(ids[0]))
    near = dataclasses.replace(near, ids=np.array(ids, object))
    return neighbors_fingerprint(near)

  variants = [
    [["a", "b"], ["c", "d"]],
    [["b", "a"], ["c", "d"]],
    [["c", "d"], ["a", "b"]],
    [["a", "b", "c", "d"]],
    [["a"], ["b"], ["c"], ["d"]],
    [['a","b', "c"], ["d", ""]],
  ]
  assert len({fingerprint(ids) for ids in variants}) == len(variants)


def test_gallery_explains_the_vote():
  item = make_gallery()[1]
  near = make_neighbors(4)
  assert (item.label, item.prediction, item.right) == ("dog", "cat", False)
  assert [n.id for n in item.neighbors] == list(near.ids[1])
  assert [n.weight for n in item.neighbors] == [0.5, 0.25, None]
  assert [n.agrees for n in item.neighbors] == list(near.labels[1] == 1)
  say = {}
  for label, weight in zip(near.labels[1, :2], (0.5, 0.25), strict=True):
    say[NAMES[label]] = say.get(NAMES[label], 0) + weight / 0.75
  assert dict(item.votes) == pytest.approx(say)


def test_chosen_queries_are_spread_and_labelled():
  labels = np.array([-1] + [0] * 99)
  predictions = np.array([0, 1] * 50)
  shown = gallery.choose_queries(
    labels, predictions, num_right=5, num_wrong=1000
  )
  wrong, right = shown[:50], shown[50:]
  np.testing.assert_array_equal(wrong, np.arange(1, 100, 2))
  assert len(right) == 5 and right[0] == 2 and right[-1] > 70
  assert (labels[right] == predictions[right]).all()


def test_thumbnails_keep_tiny_images_exactly_and_shrink_others():
  def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))

  image = np.random.default_rng(0).integers(0, 256, (8, 5, 3), np.uint8)
  uri, tiny = gallery.data_uri(image)
  assert tiny and uri.startswith("data:image/png")
  np.testing.assert_array_equal(np.asarray(decode(uri)), image)
  uri, tiny = gallery.data_uri(np.zeros((300, 600, 3), np.uint8))
  assert not tiny and decode(uri).size == (96, 48)


def test_a_table_in_markdown_breaks_nowhere():
  table = tables.Table(header=("a|b", "c"), rows=(("1", "2\n3"), ("\\", "")))
  assert table.markdown() == (
    "| a\\|b | c |\n| --- | ---: |\n| 1 | 2 3 |\n| \\\\ |  |\n"
  )


def test_sweep_table_unites_the_keys():
  table = tables.sweep_table(
    [{"alpha": 1.0, "top1": 0.5}, {"alpha": 2, "note": 'a "b", c'}],
    fractions=("top1",),
  )
  assert table.header == ("alpha", "top1 (%)", "note")
  assert list(csv.reader(io.StringIO(table.csv())))[1:] == [
    ["1", "50.0", ""],
    ["2", "", 'a "b", c'],
  ]


FOUND = Interval(mean=0.4481, low=0.4392, high=0.4577, coverage=0.95)


def test_percentages_and_what_is_not_there():
  assert tables.percent(0.44812) == "44.8"
  assert tables.percent(0.005, digits=2, signed=True) == "+0.50"
  assert tables.percent(None) == tables.percent(np.float32("nan")) == "–"
  assert tables.p_value(0.0004) == "< 0.001"
  assert tables.p_value(0.25) == "0.250"
  assert tables.p_value(float("nan")) == "–"


def test_intervals_and_changes():
  assert tables.interval(FOUND) == "44.8 (43.9 to 45.8)"
  lost = Interval(mean=-0.002, low=-0.01, high=0.004, coverage=0.95)
  assert tables.change(lost) == "-0.20 (-1.00 to +0.40)"


def test_spread_over_seeds_is_that_of_a_sample():
  assert tables.spread([0.25, 0.35]) == "30.0 ± 7.1"
  assert tables.spread([0.25]) == "25.0"
  assert tables.spread([]) == "–"


def test_file_names():
  assert tables.file_name("ImageNet-A / hard?") == "imagenet-a_hard_"


def write_run(path, *, accuracy, config, queries=200, finished=True, **report):
  """A workdir as an experiment leaves it, with nothing but what is read."""
  path.mkdir(parents=True)
  chosen = {"voter": "rank", "k": 10, "accuracy": accuracy, "by": "tuning"}
  files.write_json(
    path / "report.json",
    {
      "title": "A study",
      "findings": ["It is so."],
      "chosen": chosen if accuracy is not None else None,
      "query_counts": {"queries": queries, "unlabeled_queries": 0},
      "neighbors_fingerprint": "abc",
      "timings": {"embed_s": 1.5, "search_s": 0.5},
      "config": config,
      **report,
    },
  )
  if finished:
    (path / "DONE").write_text("done\n")
  return path


@pytest.fixture
def three(tmp_path):
  config = lambda **voting: {"voting": voting, "cache_dir": str(tmp_path)}
  return [
    write_run(tmp_path / "a", accuracy=0.5, config=config(k=1)),
    write_run(
      tmp_path / "b" / "<b>", accuracy=0.9, config=config(k=10, alpha=2)
    ),
    write_run(
      tmp_path / "c", accuracy=None, config=config(k=1), finished=False
    ),
  ]


def test_the_best_comes_first_with_its_interval(three):
  found = runs.find_runs(three)
  assert [run.name for run in found] == ["<b>", "a", "c"]
  best = found[0].accuracy
  # Clopper and Pearson's limits of 180 of 200, from their tables.
  assert (best.mean, best.low, best.high) == pytest.approx(
    (0.9, 0.8498, 0.9378), abs=1e-4
  )
  assert found[0].seconds == 2 and not found[2].finished
  assert runs.differing(found) == {
    "voting.k": ["10", "1", "1"],
    "voting.alpha": ["2", "–", "–"],
  }


def test_a_page_links_and_escapes(three, tmp_path):
  page = tmp_path / "pages" / "runs.html"
  page.parent.mkdir()
  runs.write_runs(page, runs.find_runs(three))
  text = page.read_text()
  assert "<b>, " not in text and "&lt;b&gt;" in text
  assert 'href="../b/%3Cb%3E/report.html"' in text
  assert "The best: &lt;b&gt;, 90.0 % (85.0 to 93.8)." in text
  assert "overlap" not in text  # 50 of 100 is far from 90.
  assert "c (not finished)" in text


def test_many_differences_have_a_table_of_their_own(tmp_path):
  config = lambda value: {f"key{n}": value + n for n in range(9)}
  for value, name in enumerate("xy"):
    write_run(tmp_path / name, accuracy=0.5, config=config(value))
  page = tmp_path / "runs.html"
  runs.write_runs(page, runs.find_runs([tmp_path]))
  assert "Settings that differ" in page.read_text()
  assert "overlap" in page.read_text()
  assert "key0" not in runs.table(runs.find_runs([tmp_path])).header


def test_names_are_as_long_as_they_must_be(tmp_path):
  for name in ("one/run", "two/run"):
    write_run(tmp_path / name, accuracy=0.5, config={})
  found = runs.find_runs([tmp_path / "one", tmp_path / "two"])
  assert sorted(run.name for run in found) == ["one/run", "two/run"]


def test_the_command_shows_them(three, tmp_path, capsys):
  page = tmp_path / "shown.html"
  words = ["show", *map(str, three), "-o", str(page), "--no-open"]
  assert main(words) == 0
  said = capsys.readouterr().out
  assert "90.0 (85.0 to 93.8)" in said and said.rstrip().endswith(str(page))
  assert page.exists()
  assert main([*words, "--json"]) == 0
  found = json.loads(capsys.readouterr().out)
  assert found["runs"][1]["accuracy"]["mean"] == 0.5
  assert pathlib.Path(found["page"]) == page


def test_what_is_no_run_is_named(tmp_path, capsys):
  assert main(["show", str(tmp_path), "--no-open"]) == 1
  assert "There is no run at" in capsys.readouterr().err
  (tmp_path / "report.json").write_text("[]")
  assert main(["show", str(tmp_path), "--no-open"]) == 1
  said = capsys.readouterr().err
  assert "is no report of a run" in said and "Traceback" not in said


def test_a_run_by_name_needs_the_repository(tmp_path, capsys, monkeypatch):
  assert main(["run", "no_such", str(tmp_path / "w")]) == 1
  assert "There is no configs/no_such.py; there are:" in capsys.readouterr().err
  monkeypatch.setattr("visual_memory.cli.running._ROOT", tmp_path)
  assert main(["run", "evaluate:smoke", str(tmp_path / "w")]) == 1
  said = capsys.readouterr().err
  assert "git clone" in said and said.count("\n") == 1
