"""Files of a run: whole, its own, and a page that loads nothing."""

import html.parser
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image
from reports_cases import (
  CONFIG,
  NAMES,
  make_gallery,
  make_page,
  make_results,
  render,
)

from visual_memory import files
from visual_memory.reports import drawing, page
from visual_memory.reports import workdir as workdir_lib
from visual_memory.reports.sections import evaluation


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


class Page(html.parser.HTMLParser):
  """Every tag with its attributes, every text, and whether tags balance."""

  VOID = {"meta", "img", "br", "input"}

  def __init__(self, text):
    super().__init__()
    self.tags, self.texts, self.open = [], [], []
    self.feed(text)
    self.close()
    assert not self.open, f"never closed: {self.open}"

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append(data)


@pytest.fixture(scope="module")
def page_text():
  return render()


def test_page_escapes_names(page_text):
  page = Page(page_text)
  assert "script" not in {tag for tag, _ in page.tags}
  assert "<script" not in page_text and "<i>bad" not in page_text
  assert "A <b>title</b>" in page.texts
  assert any(NAMES[2] in text for text in page.texts)
  assert "a/<i>bad</i>.jpg" in page.texts


def test_page_loads_nothing(page_text):
  assert not re.search(r"https?:|url\((?!#)|@import|//[a-z]", page_text)
  for tag, attributes in Page(page_text).tags:
    for name in ("src", "href", "xlink:href"):
      if name in attributes:
        assert attributes[name].startswith(("data:image/", "#")), tag


def test_page_ids_are_unique_and_every_reference_has_one(page_text):
  tags = Page(page_text).tags
  ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
  assert len(ids) == len(set(ids))
  used = re.findall(r'(?:href="#|url\(#|for=")([^")]+)', page_text)
  assert used and set(used) <= set(ids)


def test_page_tells_everything(page_text):
  text = " ".join(Page(page_text).texts)
  text = re.sub(r"\s+", " ", text)
  for words in (
    "python -m experiments.launch",
    "80.0 %",
    "rank vote, k = 3, chosen by tuning split",
    "Query set: hard",
    "40 → 50",
    "25.0 → 75.0",
    "– → 50.0",
    "Queries without a label, which do not count: 1.",
    "query/3",
    "f00d",
    '"size": 8',
    "truncated",
    "no vote",
  ):
    assert words in text, words
  # The chosen cell alone is framed, in the tables of both query sets.
  assert page_text.count('class="chosen"') + page_text.count(' chosen"') == 2
  assert page_text.count('class="up"') == 2
  assert page_text.count('<article class="card wrong">') == 2
  assert page_text.count('<article class="card right">') == 2


def test_same_report_same_bytes(page_text):
  assert render() == page_text


def test_figures_stand_alone():
  drawn = [
    figure for section in make_page()[0].sections for figure in section.figures
  ]
  assert len(drawn) == 3
  for figure in drawn:
    assert figure.svg.startswith("<?xml"), figure.name
    assert 'xmlns="http://www.w3.org/2000/svg"' in figure.svg
    assert "currentColor" in figure.svg and drawing.INK not in figure.svg


def test_a_page_of_200_photos_stays_small():
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 256, (12, 16, 3), np.uint8)
  photo = np.asarray(Image.fromarray(noise).resize((400, 300)))
  shown = make_gallery(photo, num=200)
  text = render(shown=shown)
  assert text.count("<article") == 200
  assert len(text) < 5e6


def test_a_page_of_many_classes_ks_and_no_pictures():
  rng = np.random.default_rng(0)
  names = tuple(f"class ${i}" for i in range(1000))
  found = make_results(
    predictions={"rank": rng.integers(0, 1000, (100, 500))},
    labels=rng.integers(0, 1000, 500),
    ks=tuple(range(1, 101)),
    class_names=names,
    absent_classes=(),
  )
  shown = evaluation.sections(found, gallery=make_gallery(None, num=1))
  names = [figure.name for part in shown for figure in part.figures]
  assert names == ["accuracy", "classes"]  # No matrix of a million cells.
  Page(
    page.render_page(page.Page(title="bare", config={}, sections=tuple(shown)))
  )


def test_file_names_that_are_not_utf8_do_not_stop_a_report(tmp_path):
  odd = page.Skipped(name="caf\udce9.jpg", reason="unreadable")
  page.write_page(tmp_path, *make_page(skipped=(odd,)))
  content = files.read_json(tmp_path / "report.json")
  assert content["skipped"][0]["name"] == odd.name
  assert b"caf?.jpg" in (tmp_path / "report.html").read_bytes()
