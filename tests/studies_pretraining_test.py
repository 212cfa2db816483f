"""A pretraining from its config: what may change, and what it begins with."""

import json
import re

import jax
import numpy as np
import pytest

from configs import pretrain as configs
from experiments import launch
from experiments import pretrain as experiment
from visual_memory import distributed
from visual_memory.pretraining import export, meter, network
from visual_memory.reports import workdir as workdir_lib
from visual_memory.studies import pretraining


def smoke(**changes):
  config = configs.get_config("smoke")
  config.update_from_flattened_dict(changes)
  return config


def test_logs_may_change_on_the_way_and_nothing_else(tmp_path, monkeypatch):
  def stopped(config, workdir, mesh):
    workdir.log(step=1)
    (workdir.path / "run").mkdir(exist_ok=True)
    raise KeyboardInterrupt

  monkeypatch.setattr(experiment, "main", stopped)
  for changes in ({}, {"every.log": 1, "tensorboard": True}):
    with pytest.raises(KeyboardInterrupt):
      launch.run(smoke(**changes), tmp_path)
  assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
  kept = json.loads((tmp_path / "config.json").read_text())
  assert kept["every"]["log"] == 1 and kept["tensorboard"]
  with pytest.raises(ValueError, match="batch_size: 16 there, 8 here") as error:
    launch.run(smoke(batch_size=8), tmp_path)
  assert "every" not in str(error.value)


def test_a_run_of_other_logs_without_results_keeps_its_lines(tmp_path):
  config = {"every": {"log": 2}, "seed": 0}
  workdir_lib.open_workdir(tmp_path, config).log(step=1)
  config["every"]["log"] = 3
  opened = workdir_lib.open_workdir(tmp_path, config, may_change=("every",))
  assert opened.metrics()[0]["step"] == 1


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  """The smoke form's transformer, of another seed, as an encoder file."""
  recipe = pretraining.make_recipe(launch.settings_of(smoke(seed=7)))
  params = jax.device_get(network.init(recipe)["backbone"])
  path = tmp_path_factory.mktemp("export") / "tiny"
  return params, export.export_backbone(recipe, params, path, training={})


def test_a_run_begins_with_the_backbone_of_a_file(
  exported, tmp_path, monkeypatch
):
  params, path = exported
  seen = {}
  monkeypatch.setattr(experiment, "train", lambda *_, **how: seen.update(how))
  config = launch.settings_of(smoke(init_from=str(path)))
  workdir = workdir_lib.open_workdir(tmp_path, {})
  experiment.main(config, workdir, distributed.make_mesh(1))
  for mine, its in zip(
    jax.tree.leaves(seen["first_backbone"]),
    jax.tree.leaves(params),
    strict=True,
  ):
    np.testing.assert_allclose(mine, its, atol=1e-3)  # Kept in float16.


def test_another_backbone_is_refused_before_any_picture(
  exported, tmp_path, monkeypatch
):
  monkeypatch.setattr(pretraining, "make_feed", None)  # Would fail.
  config = smoke(init_from=str(exported[1]))
  config.backbone.changes.depth = 2
  with pytest.raises(ValueError, match="holds another transformer"):
    launch.run(config, tmp_path / "run")
  with pytest.raises((ValueError, OSError), match="none.npz|no such|No such"):
    launch.run(smoke(init_from=str(tmp_path / "none")), tmp_path / "other")


def test_a_terminal_is_told_of_progress_and_nothing_else(tmp_path, capfd):
  launch.run(smoke(), tmp_path)
  shown = capfd.readouterr()
  first, *others, last = shown.out.splitlines()
  assert re.fullmatch(
    r"step 2 of 4, loss [\d.]+, [\d,.]+ images/s, \d+% of the time for"
    r" pictures, 0:00:\d\d left",
    first,
  ), first
  assert re.fullmatch(
    r"step 4 of 4, leave-one-out accuracy [\d.]+%", others[-1]
  )
  assert len(others) == 2 and last.startswith("Report: ")
  # No line of Orbax's, nor anybody else's.
  assert shown.err == ""


def test_a_line_says_how_much_of_the_peak_is_used():
  recipe = pretraining.make_recipe(launch.settings_of(configs.get_config()))
  line = meter.told(
    {"step": 1_000, "loss": 5.25, "images_per_s": 1_600.0, "mfu": 0.182},
    recipe,
  )
  assert line == (
    "step 1,000 of 253,900, loss 5.25, 1,600.0 images/s, 18.2% of the peak,"
    " 22:28:48 left"
  )
