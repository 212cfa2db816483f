"""The page of a report: one file that loads nothing and tells everything."""

import html.parser
import re

import numpy as np
import pytest
from PIL import Image
from reports_cases import (
  NAMES,
  make_gallery,
  make_page,
  make_results,
  render,
)

from visual_memory import files
from visual_memory.reports import drawing, page
from visual_memory.reports.sections import evaluation


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
