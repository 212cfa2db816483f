"""Reports: files that are whole, honest numbers, one self-contained page."""

import base64
import csv
import dataclasses
import hashlib
import html.parser
import io
import json
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image

from visual_memory import files
from visual_memory.reports import drawing, gallery, page, tables
from visual_memory.reports import results as results_lib
from visual_memory.reports import workdir as workdir_lib
from visual_memory.reports.sections import evaluation
from visual_memory.retrieval.neighbor_files import neighbors_fingerprint
from visual_memory.types import Neighbors

CONFIG = {"encoder": {"name": "pixels", "size": 8}, "seed": 0, "ks": (1, 3)}
NAMES = ("cat", "dog", "<script>alert('&')</script>")


def make_neighbors(num_queries=6, k=3):
  rng = np.random.default_rng(0)
  indices = rng.integers(0, 50, (num_queries, k)).astype(np.int32)
  ids = np.array([[f"row/{i}" for i in row] for row in indices], object)
  similarities = -np.sort(-rng.random((num_queries, k)), axis=1)
  return Neighbors(
    ids=ids,
    indices=indices,
    labels=(indices % len(NAMES)).astype(np.int32),
    similarities=similarities.astype(np.float32),
  )


def make_results(**changes):
  """Six queries: one unlabeled, one of a class (2) the memory lacks."""
  return results_lib.summarize(
    **{
      "predictions": {
        "plurality": np.array([[0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 1, 0]]),
        "rank": np.array([[0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 1, 0]]),
      },
      "labels": np.array([0, 0, 1, 0, 2, -1]),
      "ks": (1, 3),
      "class_names": NAMES,
      "voter": "rank",
      "k": 3,
      "chosen_by": "tuning split",
      "fingerprint": "f00d",
      "absent_classes": (2,),
      **changes,
    }
  )


def make_gallery(image=None, *, num=4):
  near = make_neighbors(num)
  return gallery.build_gallery(
    near,
    np.array([[0.5, 0.25]] * num),
    range(num),
    labels=np.array([0, 1] * num)[:num],
    predictions=np.array([0, 0] * num)[:num],
    ids=[f"query/{i}" for i in range(num)],
    class_names=NAMES,
    query_image=lambda row: image,
    memory_image=lambda row_id: image,
  )


def make_page(
  found=None, *, query_sets=None, edits=None, shown=None, **changes
):
  """A page about an evaluation, and the values of its report.json."""
  found = make_results() if found is None else found
  told = {
    "query_sets": query_sets
    or {"hard / odd": make_results(voter="plurality", k=1)},
    "edits": edits
    or [
      evaluation.Edit(
        name="add dog",
        rows_before=40,
        rows_after=50,
        before={"all": 0.25},
        after={"all": 0.75, "new": 0.5},
      )
    ],
  }
  if shown is None:
    shown = make_gallery(np.full((8, 8, 3), 7, np.uint8))
  made = page.Page(
    **{
      "title": "A <b>title</b>",
      "sections": tuple(evaluation.sections(found, gallery=shown, **told)),
      "config": CONFIG,
      "tiles": evaluation.tiles(found),
      "timings": {"search_s": 0.5},
      "counts": {**found.counts(), "memory_rows": 50},
      "skipped": (page.Skipped(name="a/<i>bad</i>.jpg", reason="truncated"),),
      "notes": evaluation.notes(found),
      "fingerprint": found.neighbors_fingerprint,
      "env": {"command": "python -m experiments.launch", "commit": None},
      **changes,
    }
  )
  return made, evaluation.values(found, **told)


def render(**changes):
  return page.render_page(make_page(**changes)[0])


# Numbers.


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


# The gallery.


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


# The workdir.


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


# report.json and the tables.


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


# The page.


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
