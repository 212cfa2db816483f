"""Experiments on tiny, one-class, perfect and hopeless data: what there is.

None crashes, none prints nan; what cannot be is left out, or refused in a
sentence that says what is missing.
"""

import importlib
import json
import re

import numpy as np
import pytest
from PIL import Image

from experiments import launch

RED, BLUE, GREEN = (220, 40, 40), (40, 60, 220), (60, 200, 60)
CASES = {
  "tiny": ([("a", RED), ("b", BLUE), ("a", RED)], [("a", RED), ("b", BLUE)]),
  "one_class": ([("a", RED)] * 9, [("a", RED)] * 3),
  "perfect": ([("a", RED), ("b", BLUE)] * 8, [("a", RED), ("b", BLUE)] * 2),
  "hopeless": ([("a", RED), ("b", BLUE)] * 8, [("b", RED), ("a", BLUE)] * 2),
}
EXPERIMENTS = (
  "evaluate", "reliability", "aggregation", "pruning", "lifelong",
  "shifted_sets", "label_noise", "privacy", "attribution", "ood_distances",
  "scaling",
)  # fmt: skip
RUNS = [
  *((name, case) for name in EXPERIMENTS for case in ("tiny", "one_class")),
  *((name, "perfect") for name in ("reliability", "pruning", "scaling")),
  *((name, "hopeless") for name in ("evaluate", "scaling")),
]
REFUSED = {
  ("label_noise", "one_class"): "two classes",
  ("scaling", "tiny"): "beside the tuning rows",
}
"""What cannot be asked of such data at all, and what the sentence says."""


def write(folder, rows):
  """One picture for each (class, color), with a little noise."""
  for i, (label, color) in enumerate(rows):
    stream = np.random.default_rng([i, len(str(folder))])
    pixels = np.array(color) + stream.integers(-6, 7, (8, 8, 3))
    (folder / label).mkdir(parents=True, exist_ok=True)
    path = folder / label / f"{folder.name}{i}.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  root = tmp_path_factory.mktemp("degenerate")
  for case, (rows, queries) in CASES.items():
    write(root / case / "train", rows)
    write(root / case / "test", queries)
    write(root / case / "new", [("c", GREEN)] * 3)
    write(root / case / "new_test", [("c", GREEN)] * 2)
  return root


def config_of(name, folder):
  """The smoke form of a config, on these pictures by four times four pixels."""
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  config.voting.ks = (1, 2, 5)
  config.cache_dir = str(folder / "cache")
  for section in [
    config.get("encoder"), *config.get("encoders", {}).values(),
  ]:  # fmt: skip
    if section is not None and section.name:
      section.name, section.options.size = "pixels", 4
  if name == "scaling":
    config.voting.tune_fraction = 0.3  # The memory grows by the others.

  def read(section, split):
    section.source, section.classes = "folder", ()
    section.options.path = str(folder / split)
    section.options.split = None

  read(config.memory, "train")
  read(config.data, "test")
  for key, split in (("added", "new"), ("added_data", "new_test")):
    if key in config:
      read(config[key], split)
  for section in config.get("outside", {}).values():
    read(section, "new")
  for section in config.get("sets", {}).values():
    read(section, "test")
    section.layout = "names"
  return config


def not_numbers(value, where=""):
  """Where a report holds what JSON cannot."""
  if isinstance(value, dict):
    for key, item in value.items():
      yield from not_numbers(item, f"{where}.{key}")
  elif isinstance(value, list):
    for place, item in enumerate(value):
      yield from not_numbers(item, f"{where}[{place}]")
  elif value in ("NaN", "Infinity", "-Infinity"):
    yield where


@pytest.mark.parametrize(
  ("name", "case"),
  [
    pytest.param(*run, marks=[] if run[1] == "tiny" else pytest.mark.slow)
    for run in RUNS
  ],
)
def test_what_there_is_is_reported(name, case, data, tmp_path):
  config = config_of(name, data / case)
  if (name, case) in REFUSED:
    with pytest.raises(ValueError, match=REFUSED[name, case]):
      launch.run(config, tmp_path / "run")
    return
  launch.run(config, tmp_path / "run")
  report = json.loads((tmp_path / "run" / "report.json").read_text())
  assert not list(not_numbers(report))
  page = (tmp_path / "run" / "report.html").read_text()
  shown = re.sub(r"<[^>]*>", " ", page.split("How it was made")[0])
  assert not re.search(r"\b(nan|None|inf)\b", shown)
