"""Finished runs side by side: read, compared, linked, shown by the command."""

import json
import pathlib

import pytest

from visual_memory import files
from visual_memory.cli.main import main
from visual_memory.reports import runs


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
