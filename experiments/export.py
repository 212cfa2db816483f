"""Turns a pretraining run into an encoder file, and loads it to be sure."""

import dataclasses
from typing import Literal

from jax.sharding import Mesh

from configs import pretrain as pretrain_config
from visual_memory import distributed, files
from visual_memory.pretraining import export, step
from visual_memory.pretraining.train import restore_state
from visual_memory.procedural.programs import GRAMMAR_VERSION
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import pretraining
from visual_memory.studies.finishing import write_encoder_page
from visual_memory.studies.from_values import from_values
from visual_memory.studies.study_settings import as_values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """Which checkpoint of which run becomes an encoder of which name."""

  experiment: str
  run: str
  name: str
  kind: Literal["best", "last", "untrained"]

  def paths(self) -> list[str]:
    """What has to be there of the run."""
    return [f"{self.run}/config.json"] if self.run else []


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Writes NAME.npz, NAME.json and report.json into the workdir."""
  env = workdir.write_env(mesh=mesh)
  if not config.run and config.kind != "untrained":
    raise ValueError("Name the workdir of a pretraining: --config.run=DIR.")
  run = from_values(
    files.read_json(f"{config.run}/config.json")
    if config.run
    else pretrain_config.get_config("smoke").to_dict(),
    pretraining.Settings,
  )
  recipe = pretraining.make_recipe(run)
  if config.kind == "untrained":
    state, log = step.init_state(recipe, mesh), []
  else:
    state = restore_state(
      recipe, f"{config.run}/run", kind=config.kind, mesh=mesh
    )
    if state is None:
      raise ValueError(
        f"{config.run} has no {config.kind} checkpoint yet (kinds: best, last)."
      )
    log = pretraining.read_log(config.run)
  steps = int(state["step"])
  training = {
    "data": as_values(run.data),
    "grammar_version": GRAMMAR_VERSION,
    "steps": steps,
    "pictures_seen": steps * recipe.batch_size,
    "scores": [line for line in log if "score" in line],
    "log": [line for line in log if "loss" in line][:: max(1, len(log) // 50)],
    "commit": env["commit"],
    "reproduce": (
      "python -m experiments.launch --config=configs/pretrain.py"
      " --workdir=DIR, with the values of `recipe` and `data`; then"
      " configs/export.py."
    ),
    "continue": (
      "The same command in the same workdir goes on from its last checkpoint."
    ),
  }
  if workdir.lead:
    path = export.export_backbone(
      recipe,
      state["teacher"]["backbone"],
      workdir.path / config.name,
      training=training,
    )
    write_encoder_page(workdir, config, path, env=env, steps=steps)
  distributed.barrier("export")
