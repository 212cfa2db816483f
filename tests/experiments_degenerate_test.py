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
  "scaling", "hierarchy", "composition", "class_sequence", "debiasing",
  "unlabeled_growth", "unlearning", "all_pairs", "linear_probe", "galleries",
  "human_study", "rerank", "cost", "latency", "neighbor_files", "sift",
  "dual_memory", "image_memories",
)  # fmt: skip
FAST = [
  *((name, "tiny") for name in EXPERIMENTS[:11]),
  *((name, "one_class") for name in ("unlearning", "rerank", "hierarchy")),
  ("image_memories", "perfect"),
]
"""What is run every time; the others are slow tests."""
RUNS = [
  *((name, case) for name in EXPERIMENTS for case in ("tiny", "one_class")),
  *(
    (name, case)
    for name in ("reliability", "pruning", *EXPERIMENTS[10:])
    for case in ("perfect", "hopeless")
  ),
  ("evaluate", "hopeless"),
]
APART = ("scaling", "class_sequence", "debiasing", "linear_probe",
         "unlabeled_growth")  # fmt: skip
"""They need rows beside the tuning rows."""
OWN = {
  "all_pairs": {"k": 2},
  "class_sequence": {"sequence.steps": 2},
  "cost": {"voting.k": 2, "voting.ks": (2,)},
  "debiasing": {"bias.label": "a"},
  "hierarchy": {"taxonomy.rows": (("x", "a"), ("x", "b"))},
  "human_study": {
    "memory.class_names": "",
    "data.class_names": "",
    "human.choices": 2,
  },
  "unlabeled_growth": {"unlabeled.labeled_fraction": 0.5, "sets": {}},
  "unlearning": {"removals.label": "a"},
}
"""Settings that speak of the digits, for these pictures."""
NO_ROWS = "beside the tuning rows"
NO_CHOICE = "No tuning query has a label"
TOO_FEW = "too few to find a bias"
REFUSED = {
  ("hierarchy", "one_class"): "at least two classes",
  ("class_sequence", "tiny"): NO_ROWS,
  ("class_sequence", "one_class"): "cannot arrive in 2 steps",
  ("class_sequence", "perfect"): NO_CHOICE,
  ("class_sequence", "hopeless"): NO_CHOICE,
  ("unlabeled_growth", "tiny"): NO_ROWS,
  ("linear_probe", "tiny"): NO_ROWS,
  ("cost", "one_class"): "rows of it and rows of another",
  ("human_study", "tiny"): "4 trials, but there are 2 queries",
  **{("sift", case): "too few for 10 words" for case in CASES},
  ("human_study", "one_class"): "1 plausible classes for 2 choices",
  ("image_memories", "tiny"): "2 shots were asked for",
  ("rerank", "tiny"): "each query has 3 neighbors",
  ("unlearning", "one_class"): "all that the memory has",
  **{("debiasing", case): TOO_FEW for case in CASES},
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
      section.name, section.options = "pixels", {"size": 4}
  if name in APART:
    config.voting.tune_fraction = 0.3  # The others are learned from.
  config.unlock()
  for key, own in OWN.get(name, {}).items():
    config.update_from_flattened_dict({key: own})

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
    pytest.param(*run, marks=[] if run in FAST else pytest.mark.slow)
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
