"""What a study decides, pruning finds and the explorer saves reaches a store.

And the next question about that store has another answer.
"""

import json

import numpy as np
import pytest
from PIL import Image

from configs import pruning
from experiments import launch
from visual_memory.cli import main as cli
from visual_memory.store.store import Store

COLORS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
MISLED = 8


def _write(folder, label, color, count):
  for i in range(count):
    stream = np.random.default_rng([i, sum(map(ord, folder.name + label))])
    pixels = np.array(color) + stream.integers(-40, 41, (6, 6, 3))
    path = folder / label / f"{folder.name}{i}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
  """Three colors; among the red some green pictures."""
  for split, count in (("train", 40), ("test", 12)):
    for label, color in COLORS.items():
      _write(tmp_path / split, label, color, count)
  for i in range(MISLED):
    shade = np.random.default_rng([i, 7]).integers(-4, 5, (6, 6, 3))
    pixels = (np.array(COLORS["green"]) + shade).clip(0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(
      tmp_path / f"train/red/wrong{i}.png"
    )
  return tmp_path


@pytest.fixture
def ask(photos, capsys):
  """A command about the store of the train pictures, and its JSON."""
  path = str(photos / "memory")

  def run(*words):
    capsys.readouterr()
    assert cli.main([*words, "--store", path, "--json"]) == 0
    return json.loads(capsys.readouterr().out)

  run("build", str(photos / "train"), "--encoder", "pixels")
  return run


def _told(ask, photos):
  """How many of the green test pictures are told green."""
  answers = ask("classify", str(photos / "test/green"), "-k", "15",
                "--voter", "plurality")  # fmt: skip
  return sum(answer["prediction"] == "green" for answer in answers)


def test_the_rows_that_a_study_drops_are_dropped_from_a_store(
  photos, ask, tmp_path
):
  config = pruning.get_config("smoke")
  for section, split in ((config.memory, "train"), (config.data, "test")):
    section.source = "folder"
    section.options.path = str(photos / split)
    section.options.split = None
  config.voting.ks, config.voting.voters = (5,), ("plurality",)
  config.voting.tune_fraction = 0.3
  config.pruning.thresholds = (2, 4, 8)
  launch.run(config, tmp_path / "run")
  edits = tmp_path / "run" / "edits.json"
  removed = json.loads(edits.read_text())["remove"]
  wrong = {f"red/wrong{i}.png" for i in range(MISLED)}
  assert len(wrong & set(removed)) >= MISLED - 1
  assert 'href="edits.json"' in (tmp_path / "run/report.html").read_text()
  before, told = ask("accuracy"), _told(ask, photos)
  (edit,) = ask("apply", str(edits), "--dry-run")["edits"]
  assert edit["kind"] == "remove" and sorted(edit["ids"]) == sorted(removed)
  assert ask("accuracy") == before
  assert ask("apply", str(edits), "--yes")["rows"] == before["rows"] - len(
    removed
  )
  assert not set(removed) & set(Store.open(str(photos / "memory")).ids)
  assert ask("accuracy")["accuracy"] > before["accuracy"]
  assert _told(ask, photos) > told
  assert ask("verify")


def test_discounted_rows_count_for_less_in_the_next_answers(photos, ask):
  before, told = ask("accuracy"), _told(ask, photos)
  assert ask("prune")["discounted"] >= MISLED
  assert ask("accuracy")["accuracy"] > before["accuracy"]
  assert _told(ask, photos) > told
  ask("prune", "--off")
  assert ask("accuracy") == before and _told(ask, photos) == told


def test_misleading_rows_are_removed_by_a_command(photos, ask):
  before = ask("accuracy")
  assert len(ask("prune", "--hard", "8", "--yes")["removed"]) >= MISLED - 1
  assert ask("accuracy")["accuracy"] > before["accuracy"]


def test_what_the_explorer_saves_is_applied(photos, ask):
  """As its page writes the file: see reports_explorer_test."""
  before, told = ask("accuracy"), _told(ask, photos)
  saved = photos / "edits.json"
  rows = [f"red/wrong{i}.png" for i in range(MISLED)]
  saved.write_text(
    json.dumps(
      {"remove": rows[:2], "relabel": dict.fromkeys(rows[2:], "green")}
    )
  )
  done = ask("apply", str(saved), "--yes")["edits"]
  moved = [edit for edit in done if edit["kind"] == "relabel"]
  assert {edit["to"] for edit in moved} == {"green"}
  assert sorted(i for edit in moved for i in edit["ids"]) == rows[2:]
  after = ask("accuracy")
  assert after["rows"] == before["rows"] - 2
  assert after["accuracy"] > before["accuracy"] and _told(ask, photos) > told
