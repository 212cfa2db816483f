"""Files of a run are whole, its own, and of the promised shape."""

import os
import re
import sys

import numpy as np
import pytest
from reports_cases import (
  CONFIG,
  NAMES,
  make_page,
)

from visual_memory import files
from visual_memory.reports import page
from visual_memory.reports import workdir as workdir_lib


def test_workdir_resumes_its_own_config_and_refuses_others(tmp_path):
  path = tmp_path / "deep" / "run"
  opened = workdir_lib.open_workdir(path, CONFIG)
  opened.log(step=1, loss=np.float32(0.5))
  again = workdir_lib.open_workdir(path, {**CONFIG, "ks": [1, 3]})
  again.log(step=2, loss=float("nan"))
  assert again.metrics() == [
    {"step": 1, "loss": 0.5},
    {"step": 2, "loss": "NaN"},
  ]
  files.write_json(path / "report.json", {})  # From here on it has results.
  before = (path / "config.json").read_bytes()
  other = {"encoder": {"name": "vit", "size": 8}, "ks": (1, 3), "new": {}}
  with pytest.raises(ValueError) as error:
    workdir_lib.open_workdir(path, other)
  assert re.findall(r"^  (.*)$", str(error.value), re.MULTILINE) == [
    "encoder.name: 'pixels' there, 'vit' here",
    "seed: 0 there, '(absent)' here",
    "new: '(absent)' there, {} here",
  ]
  assert (path / "config.json").read_bytes() == before


def test_a_line_torn_by_a_kill_is_dropped(tmp_path):
  opened = workdir_lib.open_workdir(tmp_path, CONFIG)
  opened.log(step=1)
  with open(tmp_path / "metrics.jsonl", "a") as file:
    file.write('{"step": 2, "lo')
  opened = workdir_lib.open_workdir(tmp_path, CONFIG)
  opened.log(step=2)
  assert opened.metrics() == [{"step": 1}, {"step": 2}]


def test_done_marks_a_finished_run(tmp_path):
  opened = workdir_lib.open_workdir(tmp_path, CONFIG)
  assert not opened.finished
  opened.finish()
  assert workdir_lib.open_workdir(tmp_path, CONFIG).finished


def test_only_the_lead_process_writes(tmp_path):
  path = tmp_path / "run"
  follower = workdir_lib.open_workdir(path, CONFIG, lead=False)
  assert not path.exists()
  workdir_lib.open_workdir(path, CONFIG, lead=True)
  follower.log(step=1)
  follower.write_env()
  follower.finish()
  assert os.listdir(path) == ["config.json"]
  files.write_json(path / "report.json", {})
  with pytest.raises(ValueError, match="another config"):
    workdir_lib.open_workdir(path, {}, lead=False)


def test_environment_names_versions_devices_and_command(tmp_path):
  opened = workdir_lib.open_workdir(tmp_path, CONFIG)
  env = opened.write_env(command=["python", "-m", "a b"])
  assert files.read_json(tmp_path / "env.json") == env
  assert env["command"] == "python -m 'a b'"
  assert env["versions"]["jax"] and env["versions"]["numpy"] == np.__version__
  assert (env["num_devices"], env["num_processes"]) == (8, 1)
  assert env["mesh"] == {"data": 8}
  assert env["commit"] is None or re.fullmatch("[0-9a-f]{40}", env["commit"])


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
  path = tmp_path / "report.json"
  files.write_json(path, {"old": 1})

  def fail(source, target):
    raise OSError("disk full")

  monkeypatch.setattr(os, "replace", fail)
  with pytest.raises(OSError, match="disk full"):
    files.write_json(path, {"new": 1})
  assert os.listdir(tmp_path) == ["report.json"]
  assert files.read_json(path) == {"old": 1}


def test_values_json_cannot_hold_are_named():
  with pytest.raises(TypeError, match=r"model\.layers\[1\] is a set"):
    files.plain({"model": {"layers": [1, {2}]}})


def test_broken_json_is_named(tmp_path):
  (tmp_path / "config.json").write_text('{"seed":')
  with pytest.raises(ValueError, match="config.json is not valid JSON"):
    workdir_lib.open_workdir(tmp_path, CONFIG)


def test_report_json_has_the_promised_shape(tmp_path):
  page.write_page(tmp_path, *make_page())
  content = files.read_json(tmp_path / "report.json")
  assert content["accuracy"]["rank"] == {"1": 0.6, "3": 0.8}
  assert content["neighbors_fingerprint"] == "f00d"
  assert content["chosen"] == {
    "voter": "rank",
    "k": 3,
    "accuracy": 0.8,
    "by": "tuning split",
  }
  assert content["query_sets"]["hard / odd"]["chosen"]["accuracy"] == 0.6
  assert content["query_sets"]["hard / odd"]["accuracy"] == content["accuracy"]
  assert content["counts"] == {
    "queries": 6,
    "unlabeled_queries": 1,
    "absent_class_queries": 1,
    "skipped": 1,
    "memory_rows": 50,
  }
  assert content["skipped"][0]["name"] == "a/<i>bad</i>.jpg"
  assert content["edits"][0]["after"] == {"all": 0.75, "new": 0.5}
  assert content["absent_classes"] == [NAMES[2]]
  assert content["classes"][0] == {"name": "cat", "queries": 3, "right": 3}
  assert content["timings"] == {"search_s": 0.5}
  assert content["config"] == files.plain(CONFIG)
  lines = (tmp_path / "tables/accuracy.csv").read_text().splitlines()
  assert lines == ["k,plurality,rank", "1,60.0,60.0", "3,60.0,80.0"]
  assert (tmp_path / "tables/accuracy_hard_odd.csv").exists()
  assert (tmp_path / "report.html").exists()
  names = ["accuracy.svg", "classes.svg", "confusion.svg"]
  assert sorted(os.listdir(tmp_path / "figures")) == names


def test_a_report_of_another_config_is_not_overwritten(tmp_path):
  page.write_page(tmp_path, *make_page())
  before = (tmp_path / "report.json").read_bytes()
  with pytest.raises(ValueError, match="seed: 0 there, 1 here"):
    page.write_page(
      tmp_path, *make_page(config={**CONFIG, "seed": 1}, title="other")
    )
  assert (tmp_path / "report.json").read_bytes() == before
  page.write_page(tmp_path, *make_page(title="again"))
  assert files.read_json(tmp_path / "report.json")["title"] == "again"


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_numbers_are_written_without_the_plots_extra(
  package, tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, package, None)
  made, values = make_page()  # Its figures are not drawn.
  with pytest.warns(UserWarning, match=rf"{package}.*visual_memory\[plots\]"):
    page.write_page(tmp_path, made, values)
  assert sorted(os.listdir(tmp_path)) == ["report.json", "tables"]
  with pytest.raises(ImportError, match=r"visual_memory\[plots\]"):
    page.render_page(made)
