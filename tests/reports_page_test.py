"""Pages of sections: what is written, escaped, and drawn."""

import dataclasses
import json
import re

import numpy as np
import pytest
from analysis_selection_test import cases

from visual_memory import files
from visual_memory.analysis import aggregation, calibration, label_noise, ood
from visual_memory.analysis.growth import GrowthPoint, fit_law
from visual_memory.reports import gallery, page, plots, rendering
from visual_memory.reports.sections import aggregation as of_voters
from visual_memory.reports.sections import neighbors as of_neighbors
from visual_memory.reports.sections import ood as of_distances
from visual_memory.reports.sections import robustness
from visual_memory.reports.tables import Table
from visual_memory.voting import queries as queries_lib
from visual_memory.voting.weighting import published_settings

CONFIG = {"seed": 0}


def make_section(**changes):
  line = plots.curves(
    {"<a>": {1: 2.0, 10: 3}, "b": {1: 1.0, 10: np.float32(2)}},
    name="line",
    x_label="x",
    y_label="y & z",
    x_log=True,
  )
  return page.Section(
    **{
      "title": "Results of <b>",
      "prose": ("First & second.",),
      "figures": (page.Figure(name="line", svg=line, caption="A <line>."),),
      "tables": (
        Table(
          header=("k", "accuracy <%>"),
          rows=(("1", "40.5"),),
          caption="Caption & more.",
          name="values",
        ),
      ),
      "links": {"explore <it>": "explorer.html"},
      **changes,
    }
  )


def make_page(*sections, **changes):
  return page.Page(
    **{
      "title": "A <title>",
      "sections": sections,
      "config": CONFIG,
      "tiles": {"of <all>": "44.8 %"},
      "counts": {"memory_rows": 50_000},
      "timings": {"search": 1.0},
      "env": {"command": "python -m experiments.launch"},
      "fingerprint": "f00d",
      **changes,
    }
  )


def test_everything_is_written_and_escaped(tmp_path):
  page.write_page(
    tmp_path, make_page(make_section()), {"accuracy": {"rank": {1: 0.5}}}
  )
  report = json.loads((tmp_path / "report.json").read_text())
  assert report["accuracy"] == {"rank": {"1": 0.5}}
  assert report["counts"] == {"skipped": 0, "memory_rows": 50_000}
  assert report["neighbors_fingerprint"] == "f00d"
  assert (tmp_path / "tables/values.csv").read_text().startswith("k,accuracy")
  svg = (tmp_path / "figures/line.svg").read_text()
  assert svg.startswith("<?xml") and "currentColor" in svg
  text = (tmp_path / "report.html").read_text()
  for shown in (
    "Results of &lt;b&gt;", "First &amp; second.", "A &lt;line&gt;.",
    "accuracy &lt;%&gt;", "Caption &amp; more.", "44.8 %", "of &lt;all&gt;",
    "50,000", "f00d", 'href="explorer.html"', "explore &lt;it&gt;",
  ):  # fmt: skip
    assert shown in text, shown
  assert "<script" not in text
  assert not re.search(r"(src|href)=\"https?:", text)
  ids = re.findall(r'\sid="([^"]+)"', text)
  assert len(ids) == len(set(ids))


def test_names_are_written_once(tmp_path):
  other = make_section(tables=())
  with pytest.raises(ValueError, match="Two figures are called 'line'"):
    page.write_page(tmp_path, make_page(make_section(), other), {})
  assert not list(tmp_path.iterdir())


def test_a_page_of_another_config_is_not_overwritten(tmp_path):
  page.write_page(tmp_path, make_page(make_section()), {})
  with pytest.raises(ValueError, match="seed: 0 there, 1 here"):
    page.write_page(tmp_path, make_page(config={"seed": 1}), {})


def test_numbers_are_written_without_the_plots_extra(tmp_path, monkeypatch):
  import sys

  monkeypatch.setitem(sys.modules, "matplotlib", None)
  with pytest.warns(UserWarning, match=r"visual_memory\[plots\]"):
    page.write_page(tmp_path, make_page(), {"x": 1})
  assert (tmp_path / "report.json").exists()
  assert not (tmp_path / "report.html").exists()


def test_every_plot_draws_the_same_bytes_twice():
  rng = np.random.default_rng(0)
  groups = {"inside": rng.normal(size=200), "outside": rng.normal(size=100)}
  drawn = {
    "bars": lambda: plots.bars(
      {"a": {"x": 1, "y": 2}, "b": {"x": 2, "y": 1}}, name="b", y_label="y"
    ),
    "boxes": lambda: plots.boxes(groups, name="x", y_label="y"),
    "histograms": lambda: plots.histograms(groups, name="h", x_label="x"),
    "curves": lambda: plots.curves(
      {"a": {1: 50, 2: 70, 90_000: 80}},
      fits={"fit": {1: 40, 90_000: 90}},
      bands={"a": {1: (45, 55), 2: (60, 80)}},
      fit_bands={"fit": {1: (30, 50), 90_000: (80, 95)}},
      name="c",
      x_label="x",
      y_label="y",
      x_log=True,
      y_log=True,
      diagonal=True,
    ),
  }
  for name, draw in drawn.items():
    svg = draw()
    assert svg == draw() and "</svg>" in svg, name
    assert "#123456" not in svg


def test_sections_tell_what_was_found():
  held_out = queries_lib.held_out_queries(*cases(200, 0, "test"))
  tuning = queries_lib.tuning_queries(*cases(150, 1, "tune"), held_out=held_out)
  common = {"ks": range(1, 13), "num_classes": 5}
  compared = aggregation.compare_voters(
    held_out, tuning, settings=published_settings(), seed=0, **common
  )
  swept = aggregation.sweep(
    held_out, tuning, voter="rank", values=(1.0, 2.0), **common
  )
  curve = calibration.reliability(held_out.near, held_out.labels)
  hits = calibration.hit_rate(held_out.near, held_out.labels)
  fit = calibration.fit_logarithm(held_out.near, held_out.labels)
  scores = ood.distance_scores(held_out.near, k=5)
  found = {"cifar": ood.detect_each(held_out.near, tuning.near, ks=(1, 5))}
  by_k = {"cifar": ood.auroc_by_k(held_out.near, tuning.near)}
  noise = {
    "rank": label_noise.NoiseCurve(
      fractions=(0.0, 0.4),
      accuracy=np.array([[0.5, 0.25], [0.5, 0.35]]),
      published=np.full((2, 2), 0.5),
      ks=np.ones((2, 2), int),
    )
  }
  points = [
    GrowthPoint(num_rows=n, k=1, accuracy=1 - n**-0.2, published=0.5)
    for n in (10, 100, 1000)
  ]
  laws = {
    "rank": {
      form: fit_law(
        form,
        np.array([p.num_rows for p in points]),
        np.array([1 - p.accuracy for p in points]),
      )
      for form in ("log", "power")
    }
  }
  misses = {"rank": {"log": 0.1, "power": 0.0}}
  sections = (
    of_voters.summary({"pixels": compared}),
    of_voters.comparison("pixels", compared),
    of_voters.sensitivity("pixels", {"rank": swept}),
    of_neighbors.reliability(curve, fit, hits),
    of_distances.distances({"inside": scores, "cifar": scores}, k=5),
    of_distances.detection(found, by_k),
    of_distances.by_class("cifar", {"a": 0.5, "b": 0.25}),
    robustness.noise("symmetric", noise),
    robustness.growth({"rank": points}, laws, misses, far=(1e6,)),
  )
  text = page.render_page(make_page(*sections))
  best = max(compared.table.accuracy()["rank"].values())
  assert f"{100 * best:.2f}" in text  # As published.
  assert f"{100 * compared.scored['rank'].accuracy.mean:.2f}" in text
  assert "30.0 ± 7.1" in text  # Two seeds at 40 % noise.
  assert f"{100 * 1e6**-0.2:.1f} (" in text  # Extrapolated.
  values = files.plain(
    of_voters.comparison_values(compared)
    | of_voters.sweep_values(swept)
    | of_neighbors.values(curve, fit, hits)
    | of_distances.values(found, by_k, {"cifar": {"a": 0.5}})
    | robustness.noise_values(noise)
    | robustness.growth_values({"rank": points}, laws, misses)
  )
  json.dumps(values, allow_nan=False)


def test_a_table_too_wide_for_the_page_is_set_in_smaller_type():
  """Headers break between words: they alone make no table wide."""
  long = "as long as a sentence that breaks wherever a word ends"
  for cell, dense in (("1.0", False), ("+4.20 (+0.80 to +7.60)", True)):
    table = Table(header=(long,) * 6, rows=((cell,) * 6,))
    assert rendering.table(table)["dense"] == dense


def test_a_table_says_once_what_rows_have_in_common():
  table = Table(
    header=("voter", "pruning", "accuracy (%)"),
    rows=(("rank", "none", "98.7"), ("rank", "hard", "–"), ("", "soft", "1")),
    marks={(1, 2): "best"},
  )
  text = page.render_page(make_page(make_section(tables=(table,))))
  assert text.count('<th scope="row" rowspan="2">rank</th>') == 1
  assert '<td class="best">–</td>' in text
  assert text.count('<td class="word">') == 3  # Words stand at the left.


def test_long_tables_and_galleries_are_folded_and_rows_have_pictures():
  picture = np.full((9, 9, 3), 200, np.uint8)
  many = Table(
    header=("row", "count"),
    rows=tuple((f"row/{i}", str(i)) for i in range(40)),
    pictures=(picture, None) * 20,
  )
  text = page.render_page(make_page(make_section(tables=(many,))))
  assert text.count('class="thumbnail"') == 40 and "show all 40 rows" in text
  assert text.count('<img src="data:image/png') == 20
  assert 'loading="lazy"' not in text  # A capture of the page is complete.
  few = Table(header=("row",), rows=(("a",),))
  assert "show all" not in page.render_page(
    make_page(make_section(tables=(few,)))
  )


def test_the_finding_stands_first(tmp_path):
  found = make_page(
    make_section(finding="All <right>."),
    make_section(title="More", figures=(), tables=(), finding="And more."),
  )
  page.write_page(tmp_path, found, {})
  text = (tmp_path / "report.html").read_text()
  places = [
    text.index(words)
    for words in ("All &lt;right&gt;.", "And more.", "First &amp;", "50,000")
  ]
  assert places == sorted(places)
  report = json.loads((tmp_path / "report.json").read_text())
  assert report["findings"] == ["All <right>.", "And more."]


def test_axes_of_accuracies_make_no_cliff_of_two_queries():
  svg = plots.curves(
    {"rank": {1: 98.0, 10: 98.4}}, name="flat", x_label="k",
    y_label="accuracy (%)",
  )  # fmt: skip
  ticks = [float(t) for t in re.findall(r">\s*(\d+)\s*</text>", svg)]
  assert min(t for t in ticks if t > 50) <= 95


def test_what_stands_three_in_a_row_is_narrow():
  """A table that fits beside one figure is cut off beside two."""
  line = make_section().figures[0]
  three = tuple(dataclasses.replace(line, name=f"line{i}") for i in range(3))
  row = ("a fairly long name", "12.3 ± 0.4", "45.6 ± 0.7", "78.9 ± 0.1")
  table = Table(header=("what", "one", "two", "three"), rows=(row,))
  for figures, wide in ((three[:1], False), (three, True)):
    text = page.render_page(
      make_page(make_section(figures=figures, tables=(table,)))
    )
    assert ('<div class="wide">' in text) == wide


def test_figures_of_many_pictures_take_half_a_row():
  """At a third of the page nobody could see what they show."""
  line = make_section().figures[0]
  svg = re.sub(r'(<svg[^>]*? width=)"[^"]*"', r'\1"482.4pt"', line.svg)
  for drawn, three in ((line.svg, True), (svg, False)):
    figures = tuple(
      dataclasses.replace(line, name=f"line{i}", svg=drawn) for i in range(3)
    )
    text = page.render_page(make_page(make_section(figures=figures)))
    assert ('class="pair three"' in text) == three


def test_pictures_that_do_not_vote_have_no_empty_bars():
  of = lambda weight: gallery.GalleryItem(
    id="q", image=None, label="a", prediction="a", right=True, votes=(),
    neighbors=tuple(
      gallery.GalleryNeighbor(
        id=f"r{i}", image=None, label="a", similarity=0.5, weight=each,
        agrees=True,
      )
      for i, each in enumerate((weight, None))
    ),
  )  # fmt: skip
  shown = lambda item: page.render_page(
    make_page(make_section(gallery=(item,)))
  )
  assert "no vote" not in shown(of(None)) and "no vote" in shown(of(1.0))
  assert '<span class="weight">' not in shown(of(None))


def test_fifteen_lines_are_told_apart():
  lines = {f"line {i}": {1: float(i), 2: 2.0 * i} for i in range(15)}
  svg = plots.curves(lines, name="many", x_label="k", y_label="seconds")
  styles = re.findall(r'<path [^>]*style="(fill: none;[^"]*1\.7[^"]*)"', svg)
  assert len(styles) >= 15 and len(set(styles)) == 15


def test_a_million_is_written_out():
  lines = {"a": {1000: 1e-3, 1e6: 1.0}}
  svg = plots.curves(lines, name="a", x_label="rows", y_label="s", x_log=True)
  assert ">1,000,000<" in svg and "e+06" not in svg


def test_long_labels_of_axes_take_two_lines_and_counts_have_units():
  long = "accuracy at the k of the tuning rows (%)"
  svg = plots.curves({"a": {1: 2.0}}, name="long", x_label="k", y_label=long)
  names = ["sky", "pedestrian", "bicyclist", *(f"c{i}" for i in range(8))]
  for labels, turned in ((names, True), (names[:3], False)):  # Or they overlap.
    bars = plots.bars(
      {"a": dict.fromkeys(labels, 1.0)}, name="bars", y_label="IoU (%)"
    )
    assert ('rotate(-90)">sky' in bars) == turned
  assert long not in svg and "accuracy at the k of the tuning" in svg
  text = page.render_page(make_page(counts={"peak_memory_mib": 1610}))
  assert "peak memory (MiB)" in text
