"""The paper's runner: what has data runs, ours stand beside the published."""

import base64
import importlib
import json
import re
import types

import numpy as np
import processes
import pytest
from PIL import Image

from configs import paper as table
from configs import paper_procedural, published
from experiments import aggregation, from_config, launch, paper_configs
from visual_memory.studies import papers
from visual_memory.studies.opening import missing

NUMBERS = published.VISUAL_MEMORY
SYNSETS = ("n01440764", "n02391049", "n03000684")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """ImageNet's layout with three classes of eight tiny images."""
  root = tmp_path_factory.mktemp("data")
  rng = np.random.default_rng(0)
  for split in ("train", "val"):
    for shade, synset in enumerate(SYNSETS):
      folder = root / "imagenet" / split / synset
      folder.mkdir(parents=True)
      for i in range(8):
        image = rng.integers(0, 80, (10, 12, 3)) + 80 * (np.arange(3) == shade)
        Image.fromarray(image.astype(np.uint8)).save(
          folder / f"{synset}_{split}_{i}.JPEG", quality=95
        )
  return root


def small(items):
  """The same runs with pixels for an encoder, and few neighbors."""
  for config in items.values():
    for section in [
      config.get("encoder"),
      *config.get("encoders", {}).values(),
    ]:
      if section is None:
        continue
      section.name, section.preprocess = "pixels", None
      section.options.size = 4
    if "ks" in config.voting:
      config.voting.ks = tuple(k for k in range(1, 21))
    if "sweeps" in config:
      for voter in config.sweeps:
        config.sweeps[voter] = (1.0,)
  return items


def run(items, path):
  """Runs them as the script does; the names of twins are no variants."""
  own = types.SimpleNamespace(
    stand_in=lambda name: table.stand_in(
      name if name in table.VARIANTS else "table4"
    ),
    VARIANTS={},
  )
  return paper_configs.run(items, str(path / "run"), own, published=NUMBERS)


def test_what_has_data_runs_and_is_compared(data, tmp_path):
  items = small(
    paper_configs.load_configs(
      str(data), ["table4", "figure8", "table6", "figure12"], table
    )
  )
  # One run under two names, and one that must fail.
  items["twin"] = items["table4"].copy_and_resolve_references()
  items["twin"].title = "The same again"
  items["broken"] = items["table4"].copy_and_resolve_references()
  items["broken"].memory.classes = ("n00000000",)
  del items["table6"]
  found = run(items, tmp_path)
  assert {name: value["state"] for name, value in found.items()} == {
    "table4": "done", "figure8": "skipped", "figure12": "skipped",
    "twin": "done", "broken": "failed",
  }  # fmt: skip
  assert "inaturalist" in found["figure8"]["reason"]
  assert "ninco" in found["figure12"]["reason"]
  assert "n00000000" in found["broken"]["reason"]
  assert found["twin"]["report"] == found["table4"]["report"]
  numbers = {row["what"]: row for row in found["table4"]["numbers"]}
  report = json.loads((tmp_path / "run/table4/report.json").read_text())
  ours = report["encoders"]["dinov2_vitl14"]["accuracy"]["rank"]["20"]
  assert numbers["rank, k = 20"]["ours"] == pytest.approx(100 * ours)
  assert numbers["rank, k = 20"]["published"] == 83.6
  assert numbers["rank, k = 100"]["ours"] is None  # Not asked here.
  page = (tmp_path / "run/index.html").read_text()
  assert 'href="table4/report.html"' in page
  assert "2 done, 2 skipped, 1 failed" in page
  assert page.count("data:image/svg+xml;base64,") == 2
  assert found["twin"]["same_as"] == "table4" and "The run of table4" in page
  assert found["table4"]["finding"] == report["findings"][0]
  assert report["findings"][0][:40] in page  # A card says what it shows.
  path = tmp_path / f"run/table4/figures/{report['figures'][0]}.svg"
  assert base64.b64encode(path.read_bytes()).decode() in page
  assert "published numbers beside ours" in page
  text = (tmp_path / "run/paper.md").read_text()
  assert "| table4 | rank, k = 20 | 83.6 |" in text and "inaturalist" in text


def test_a_paper_in_small_draws_what_every_experiment_looks_at():
  """A picture with a mask counts as a hundred, all its patches being asked."""
  small = from_config.draw
  masked = paper_procedural.stand_in("table2")
  small(masked, 2000, 500)
  assert (masked.memory.sample, masked.data.sample) == (20, 5)
  sizes = paper_procedural.stand_in("figure16")
  small(sizes, 2000, 500)
  assert sizes.recipe.pictures.num_programs == 2000
  assert sizes.tasks.cifar10.memory.sample == 2000
  assert sizes.tasks.cifar10.data.sample == 500
  assert "at most 2,000 rows, 500 queries" in sizes.title
  few = paper_procedural.stand_in("figure16")
  small(few, 100, 50)  # A dictionary is learned from more than it has values.
  assert few.recipe.pictures.num_programs > few.recipe.dictionary.dim


def test_finished_runs_are_not_run_again(data, tmp_path, monkeypatch):
  items = small(paper_configs.load_configs(str(data), ["table4"], table))
  first = run(items, tmp_path)
  monkeypatch.setattr(aggregation, "main", None)
  assert run(items, tmp_path) == first


def test_weights_below_the_data_are_used(data, tmp_path):
  items = paper_configs.load_configs(str(data), ["table4"], table)
  assert items["table4"].encoders.dinov2_vitl14.weights is None
  (data / "weights").mkdir(exist_ok=True)
  (data / "weights" / "dinov2_vitl14.pth").write_bytes(b"")
  items = paper_configs.load_configs(str(data), ["table4"], table)
  assert items["table4"].encoders.dinov2_vitl14.weights.endswith("l14.pth")


def test_without_data_everything_is_skipped_with_a_reason(tmp_path):
  done = processes.python(
    "-m", "experiments.paper", f"--data={tmp_path / 'none'}",
    f"--workdir={tmp_path / 'run'}",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-2000:]
  outcomes = json.loads((tmp_path / "run/paper.json").read_text())
  assert len(outcomes) > 20
  assert all(
    value["state"] == "skipped" and "there is no" in value["reason"]
    for value in outcomes.values()
  )


def test_names_that_there_are_not(tmp_path):
  with pytest.raises(ValueError, match="table4.*no 'table99'"):
    paper_configs.load_configs(str(tmp_path), ["table99"], table)


def test_published_numbers_belong_to_configs_and_are_plausible(tmp_path):
  names = paper_configs.load_configs(str(tmp_path), [], table)
  assert set(published.VISUAL_MEMORY) <= set(names)
  for name, rows in published.VISUAL_MEMORY.items():
    assert len({row.what for row in rows}) == len(rows)
    for row in rows:
      assert row.unit != "%" or 10 < row.value < 100
      if row.path and row.path[0] == "encoders":
        config = names[name]
        first = [config.encoder.name] if "encoder" in config else []
        assert row.path[1] in [*first, *config.encoders]
  assert len(published.VISUAL_MEMORY["table7"]) == 40


@pytest.mark.parametrize(
  "path, expected",
  [
    (("a", 1, "b"), 0.5), (("a", 5), None), (("a", "b"), None), (("c",), None),
    (("d", "*", "x"), 0.7), (("a", "*", "x"), None),
  ],
)  # fmt: skip
def test_values_of_reports_are_looked_up(path, expected):
  report = {"a": [{}, {"b": 0.5}], "c": "text"}
  report["d"] = {"rank": {"x": 0.7}, "softmax": {"x": 0.6}, "none": {}}
  assert papers.look_up(report, path) == expected


def test_the_procedural_paper_lists_what_it_lacks(tmp_path):
  """Every form of every config; models without weights are left out."""
  (tmp_path / "weights").mkdir()
  (tmp_path / "weights/kml.pth").write_bytes(b"")
  items = paper_configs.load_configs(str(tmp_path), [], paper_procedural)
  assert set(published.PROCEDURAL) <= set(items)
  assert {"table1:pathmnist", "table1:pathmnist_val"} <= set(items)
  assert list(items["table1:cub200"].encoders) == ["kml", "random"]
  for name, config in items.items():
    settings = paper_configs.settings_of({name: config})[name]
    assert "there is no" in missing(settings), name
  text = papers.listing(
    paper_configs.settings_of(items), without=paper_procedural.WITHOUT
  )
  for number in (5, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19):
    assert re.search(rf"Figures? [\d, and]*\b{number}\b", text), number
  for number in (1, 2, 3, 4, 5):
    assert f"Table {number}" in text
  assert "have no config here" in text.splitlines()[-1]
  with pytest.raises(ValueError, match="table1:cub200.*no 'table1'"):
    paper_configs.load_configs(str(tmp_path), ["table1"], paper_procedural)


def test_numbers_of_the_procedural_paper_are_found_in_a_report(tmp_path):
  """A run on tiny MedMNIST-like files, with pixels for the models."""
  rng = np.random.default_rng(0)
  arrays = {}
  for split in ("train", "val", "test"):
    labels = rng.integers(0, 2, (40, 1))
    noise = rng.integers(0, 60, (40, 8, 8))
    arrays[f"{split}_images"] = (noise + 90 * labels[..., None]).astype("u1")
    arrays[f"{split}_labels"] = labels
  np.savez(tmp_path / "breastmnist_224.npz", **arrays)
  name = "table1:breastmnist_val"
  items = paper_configs.load_configs(str(tmp_path), [name], paper_procedural)
  config = items[name]
  config.encoders.kml = config.encoders.random.copy_and_resolve_references()
  del config.encoders["random"]
  config.encoders.kml.name = "pixels"
  config.encoders.kml.options = {"size": 4}
  config.voting.ks = (1, 2, 3)
  found = paper_configs.run(
    items,
    str(tmp_path / "run"),
    paper_procedural,
    published=published.PROCEDURAL,
  )[name]
  assert found["state"] == "done", found
  numbers = {row["what"]: row for row in found["numbers"]}
  assert numbers["kml"]["published"] == 91.03
  assert 90 < numbers["kml"]["ours"] <= 100
  assert numbers["stylegan"]["ours"] is None


def test_own_configs_stand_in_where_the_papers_data_are_not(
  tmp_path, monkeypatch
):
  """The same question of other data: no published number stands beside."""
  stand_in = table.stand_in("figure12")
  assert stand_in.title.startswith("Figure 12") and "here:" in stand_in.title
  small_one = importlib.import_module("configs.privacy").get_config("smoke")
  small_one.title = "In its place"
  own = types.SimpleNamespace(stand_in=lambda name: small_one, VARIANTS={})
  items = paper_configs.load_configs(str(tmp_path), ["table4"], table)
  found = paper_configs.run(
    items, str(tmp_path / "run"), own, published=NUMBERS
  )["table4"]
  assert found["state"] == "done" and found["numbers"] == []
  assert "there is no" in found["reason"]
  assert "In its place" in (tmp_path / "run/index.html").read_text()
  assert table.stand_in("section_2_2_alone") is None  # It needs a model.
  people = {name: table.stand_in(name).human for name in ("appendix_l",
            "appendix_n")}  # fmt: skip
  assert people["appendix_l"].kind == "prediction"
  assert people["appendix_n"].kind == "preference"  # The question is the same.
  for name in table.VARIANTS:  # Each has one, whose settings are whole.
    config = table.stand_in(name)
    if config is None:
      continue
    from_config.settings(config, launch.load(config).Settings)
