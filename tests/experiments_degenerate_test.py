"""Experiments on tiny, one-class, perfect and hopeless data: what there is.

None crashes, none prints nan; what cannot be is left out, or refused in a
sentence that says what is missing.
"""

import importlib
import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import launch, plan, procedural_diversity
from visual_memory.pretraining import dictionary

RED, BLUE, GREEN = (220, 40, 40), (40, 60, 220), (60, 200, 60)
CASES = {
  "tiny": ([("a", RED), ("b", BLUE), ("a", RED)], [("a", RED), ("b", BLUE)]),
  "one_class": ([("a", RED)] * 9, [("a", RED)] * 3),
  "perfect": ([("a", RED), ("b", BLUE)] * 16, [("a", RED), ("b", BLUE)] * 2),
  "hopeless": ([("a", RED), ("b", BLUE)] * 16, [("b", RED), ("a", BLUE)] * 2),
  "unseen": ([("a", RED)] * 9, [("b", BLUE)] * 3),
}
EXPERIMENTS = (
  "evaluate", "reliability", "aggregation", "pruning", "lifelong",
  "shifted_sets", "label_noise", "privacy", "attribution", "ood_distances",
  "scaling", "hierarchy", "composition", "class_sequence", "debiasing",
  "unlabeled_growth", "unlearning", "all_pairs", "linear_probe", "galleries",
  "human_study", "rerank", "cost", "latency", "neighbor_files", "sift",
  "dual_memory", "image_memories", "similarity", "segmentation",
  "comparison", "quickstart", "pretrain",
)  # fmt: skip
FAST = [
  *((name, "tiny") for name in EXPERIMENTS[:11]),
  *((name, "one_class") for name in ("unlearning", "rerank", "hierarchy")),
  *((name, "unseen") for name in ("pruning", "shifted_sets", "segmentation")),
  ("quickstart", "hopeless"),
  ("similarity", "one_class"),
  ("image_memories", "perfect"),
]
"""What is run every time; the others are slow tests."""
RUNS = [(name, case) for name in EXPERIMENTS for case in CASES]
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
  "pretrain": {"batch_size": 4},
  "quickstart": {
    "late_classes": ("b",),
    "removed_class": "a",
    "voting.k": 2,
  },
  "unlabeled_growth": {"unlabeled.labeled_fraction": 0.5, "sets": {}},
  "unlearning": {"removals.label": "a"},
}
"""Settings that speak of the digits, for these pictures."""
NO_ROWS = "beside the tuning rows"
ONE = "rows of it and rows of another"
REFUSED = {
  ("class_sequence", "tiny"): NO_ROWS,
  ("class_sequence", "one_class"): "cannot arrive in 2 steps",
  ("class_sequence", "unseen"): "cannot arrive in 2 steps",
  ("cost", "one_class"): ONE,
  ("cost", "unseen"): ONE,
  ("debiasing", "tiny"): "too few to find a bias",
  ("debiasing", "one_class"): "too few to find a bias",
  ("debiasing", "unseen"): "too few to find a bias",
  ("dual_memory", "unseen"): "no image of it can be a shot",
  ("hierarchy", "one_class"): "at least two classes",
  ("hierarchy", "unseen"): "not in the memory's taxonomy",
  ("human_study", "tiny"): "4 trials, but there are 2 queries",
  ("human_study", "one_class"): "1 plausible classes for 2 choices",
  ("human_study", "unseen"): "4 trials, but there are 3 queries",
  ("image_memories", "tiny"): "2 shots were asked for",
  ("image_memories", "unseen"): "no image of it can be a shot",
  ("label_noise", "one_class"): "two classes",
  ("label_noise", "unseen"): "two classes",
  ("linear_probe", "tiny"): NO_ROWS,
  ("pretrain", "tiny"): "fewer than a batch of 4",
  ("quickstart", "tiny"): "k = 5, but the memory has 2 rows",
  ("quickstart", "one_class"): "no class 'b'",
  ("quickstart", "unseen"): "no class 'b'",
  ("rerank", "tiny"): "each query has 3 neighbors",
  ("scaling", "tiny"): NO_ROWS,
  ("unlabeled_growth", "tiny"): NO_ROWS,
  ("unlearning", "one_class"): "all that the memory has",
  ("unlearning", "unseen"): "all that the memory has",
}
"""What cannot be asked of such data at all, and what the sentence says."""


def write(folder, rows, scale=1):
  """One picture for each (class, color), with a little noise, or coarse."""
  for i, (label, color) in enumerate(rows):
    stream = np.random.default_rng([i, len(str(folder))])
    pixels = np.array(color) + scale * stream.integers(-6, 7, (8, 8, 3))
    pixels = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    (folder / label).mkdir(parents=True, exist_ok=True)
    path = folder / label / f"{folder.name}{i}.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def write_masks(folder, rows):
  """The same pictures, each with a mask of its class; CamVid's layout."""
  masks = folder.with_name(f"{folder.name}annot")
  masks.mkdir(parents=True, exist_ok=True)
  write(folder.parent / "of" / folder.name, rows)
  folder.mkdir()
  for i, (label, _) in enumerate(rows):
    name = f"{folder.name}{i}.png"
    (folder.parent / "of" / folder.name / label / name).rename(folder / name)
    mask = np.full((8, 8), "ab".index(label), np.uint8)
    Image.fromarray(mask).save(masks / name)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  root = tmp_path_factory.mktemp("degenerate")
  for case, (rows, queries) in CASES.items():
    write(root / case / "train", rows)
    write(root / case / "test", queries)
    for split, pictures in (("train", rows), ("test", queries)):
      write_masks(root / case / "masks" / split, pictures)
      write(root / case / "coarse" / split, pictures, scale=8)
    write(root / case / "new", [("c", GREEN)] * 3)
    write(root / case / "new_test", [("c", GREEN)] * 2)
  return root


SPLITS = {
  "memory": "train", "data": "test", "photographs": "train",
  "evaluation": "test", "added": "new", "added_data": "new_test",
  "outside": "new", "sets": "test",
}  # fmt: skip
"""Which pictures stand for a section's."""


def sources_of(section, key=""):
  """The sources of a config, with the pictures that stand for each."""
  if "source" in section and key in SPLITS:
    yield section, SPLITS[key]
  for name, value in section.items():
    if hasattr(value, "items"):
      yield from sources_of(value, key if key in ("outside", "sets") else name)


def smoke(name, /, **changes):
  """The smoke form of a config, changed."""
  config = importlib.import_module(f"configs.{name}").get_config("smoke")
  config.unlock()
  config.update_from_flattened_dict(changes)
  return config


def config_of(name, folder):
  """The smoke form of a config, on these pictures by four times four pixels."""
  config = smoke(name)
  if "voting" in config:
    config.voting.ks = (1, 2, 5)
    config.cache_dir = str(folder / "cache")
  if name == "segmentation":
    folder, of = folder / "masks", {"source": "camvid"}
  else:
    of = {"source": "folder", "classes": ()}
    for section in [
      config.get("encoder"), *config.get("encoders", {}).values(),
    ]:  # fmt: skip
      if section is not None and section.name:
        section.name, section.options = "pixels", {"size": 4}
  if name == "sift":
    folder = folder / "coarse"  # SIFT finds nothing in flat ones.
  if name in APART:
    config.voting.tune_fraction = 0.3  # The others are learned from.
  for section, split in sources_of(config):
    split = "train" if name == "pretrain" else split
    section.update(of)
    section.options.update(path=str(folder / split), split=None)
    if name == "segmentation":
      section.options.update(path=str(folder), split=split)
  for section in config.get("sets", {}).values():
    section.layout = "names"
  for key, own in OWN.get(name, {}).items():
    config.update_from_flattened_dict({key: own})
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
  all_is_told(tmp_path / "run")


def all_is_told(path):
  """Neither the report nor the page of a run holds a nan."""
  report = json.loads((path / "report.json").read_text())
  assert not list(not_numbers(report))
  page = (path / "report.html").read_text()
  shown = re.sub(r"<[^>]*>", " ", page.split("How it was made")[0])
  assert not re.search(r"\b(nan|None|inf)\b", shown)


@pytest.mark.slow
def test_a_backbone_that_saw_one_class_becomes_an_encoder(data, tmp_path):
  launch.run(config_of("pretrain", data / "one_class"), tmp_path / "run")
  config = smoke("export", run=str(tmp_path / "run"), kind="best")
  launch.run(config, tmp_path / "encoder")
  assert (tmp_path / "encoder" / "procedural_vit.npz").exists()
  config.run = str(tmp_path)
  with pytest.raises(ValueError, match="there is no .*config.json"):
    launch.run(config, tmp_path / "none")


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"pictures.num_programs": 1}, "2 images cannot decorrelate 16 values"),
    ({"dictionary.patch": 9}, "9 pixels of a patch, but the pictures have 8"),
    ({"dictionary.num_words": 501}, "501 words of a dictionary"),
    ({"dictionary.dim": 65}, "65 dimensions, but responses: 64"),
  ],
)
def test_what_a_dictionary_lacks_is_said_before_work(changes, said, tmp_path):
  with pytest.raises(ValueError, match=said):
    launch.run(smoke("dictionary", **changes), tmp_path / "run")
  assert not list(tmp_path.glob("run/pool"))


def test_pictures_of_one_color_make_no_dictionary():
  learned = smoke("dictionary").dictionary
  settings = dictionary.DictionarySettings(**learned.to_dict())
  flat = np.broadcast_to(np.arange(40, dtype=np.uint8)[:, None, None, None],
                         (40, 8, 8, 3))  # fmt: skip
  with pytest.raises(ValueError, match="of one color"):
    dictionary.learn(flat, settings, key=jax.random.key(0))


def test_photographs_that_are_few_or_alike_are_compared(data, tmp_path):
  photographs = {"name": "folder", "path": str(data / "one_class" / "train")}
  config = smoke("procedural_diversity", num_images=10, families=())
  config.photographs = {"photographs": photographs}
  with pytest.raises(ValueError, match="photographs has 9"):
    procedural_diversity.main(config, tmp_path)
  config.num_images = 1
  with pytest.raises(ValueError, match="1 pictures cannot differ"):
    procedural_diversity.main(config, tmp_path)
  config.num_images = 8
  procedural_diversity.main(config, tmp_path)
  found = json.loads((tmp_path / "diversity.json").read_text())
  assert not list(not_numbers(found))


def test_a_search_over_nothing_has_no_plan():
  config = smoke("plan", num_rows=0)
  with pytest.raises(ValueError, match="at least one row"):
    plan.main(config, None)
