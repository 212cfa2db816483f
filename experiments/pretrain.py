"""Pretrains a backbone: recipe and data from a config, then the loop.

The workdir holds metrics.jsonl, run/ (checkpoints, and what they are of) and
at the end report.json. `experiments.export` makes an encoder file of it.
"""

from jax.sharding import Mesh

from visual_memory.pretraining import meter
from visual_memory.pretraining.train import train
from visual_memory.reports.sections.pretraining import curves
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import finishing, pretraining
from visual_memory.studies.pretraining import Settings


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs or continues a pretraining."""
  env = workdir.write_env(mesh=mesh)
  recipe = pretraining.make_recipe(config)
  first_backbone = pretraining.first_backbone(config, recipe)
  logs = [workdir.log, meter.terminal_log(recipe)]
  if config.tensorboard:
    logs.append(meter.tensorboard_log(workdir.path / "tensorboard"))
  evaluate = pretraining.make_evaluation(config, recipe, mesh)
  train(
    recipe,
    pretraining.make_feed(config, workdir.path),
    directory=workdir.path / "run",
    mesh=mesh,
    log=meter.all_of(*logs),
    evaluate=evaluate,
    log_every=config.every.log,
    save_every=config.every.save,
    evaluate_every=config.every.evaluate,
    first_backbone=first_backbone,
  )
  lines = workdir.metrics()
  scores = [line["score"] for line in lines if "score" in line]
  values = {
    "last": {name: x for line in lines for name, x in line.items()},
    "best_score": max(scores, default=None),
  }
  finishing.finish_run(workdir, config, (curves(lines),), values, env=env)
