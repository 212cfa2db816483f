"""Pretrains a backbone: recipe and data from a config, then the loop.

The workdir holds metrics.jsonl, run/ (checkpoints, and what they are of) and
at the end report.json. `experiments.export` makes an encoder file of it.
"""

from experiments import pretrain_stages
from visual_memory import distributed
from visual_memory.pretraining import meter
from visual_memory.pretraining.train import train
from visual_memory.reports import files


def main(config, workdir, mesh) -> None:
  """Runs or continues a pretraining."""
  workdir.write_env(mesh=mesh)
  recipe = pretrain_stages.make_recipe(config)
  logs = [workdir.log, _print]
  if config.tensorboard:
    logs.append(meter.tensorboard_log(workdir.path / "tensorboard"))
  evaluate = pretrain_stages.make_evaluation(config, recipe, mesh)
  train(
    recipe,
    pretrain_stages.make_feed(config, workdir.path),
    directory=workdir.path / "run",
    mesh=mesh,
    log=meter.all_of(*logs),
    evaluate=evaluate,
    log_every=config.every.log,
    save_every=config.every.save,
    evaluate_every=config.every.evaluate,
  )
  lines = workdir.metrics()
  last = {k: v for line in lines for k, v in line.items()}
  scores = [line["score"] for line in lines if "score" in line]
  report = {"last": last, "best_score": max(scores, default=None)}
  if workdir.lead:
    files.write_json(workdir.path / "report.json", report)


def _print(**values) -> None:
  """One line for whoever watches."""
  if distributed.is_lead():
    told = (
      f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
      for name, value in values.items()
    )
    print("  ".join(told), flush=True)
