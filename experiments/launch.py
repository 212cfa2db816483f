"""Runs the experiment that a config names, on whatever devices there are.

  python -m experiments.launch --config=configs/NAME.py[:smoke] \\
      --workdir=DIR [--config.voting.k=20 ...]

Several processes (TPU pods, Slurm, Open MPI, or JAX_COORDINATOR_ADDRESS,
JAX_NUM_PROCESSES and JAX_PROCESS_ID set by hand) run the same command. Running
a stopped command again continues it.
"""

from absl import app, flags, logging
from ml_collections import config_flags

from experiments import (
  aggregation,
  attribution,
  comparison,
  composition,
  cost,
  dictionary,
  dual_memory,
  evaluate,
  export,
  galleries,
  hierarchy,
  human_study,
  label_noise,
  latency,
  lifelong,
  linear_probe,
  neighbor_files,
  ood_distances,
  pretrain,
  privacy,
  pruning,
  quickstart,
  reliability,
  rerank,
  scaling,
  segmentation,
  shifted_sets,
  sift,
  similarity,
  unlearning,
)
from visual_memory import distributed
from visual_memory.reports.workdir import open_workdir

EXPERIMENTS = {
  "aggregation": aggregation.main,
  "attribution": attribution.main,
  "comparison": comparison.main,
  "composition": composition.main,
  "cost": cost.main,
  "dictionary": dictionary.main,
  "dual_memory": dual_memory.main,
  "evaluate": evaluate.main,
  "export": export.main,
  "galleries": galleries.main,
  "hierarchy": hierarchy.main,
  "human_study": human_study.main,
  "label_noise": label_noise.main,
  "latency": latency.main,
  "neighbor_files": neighbor_files.main,
  "lifelong": lifelong.main,
  "linear_probe": linear_probe.main,
  "ood_distances": ood_distances.main,
  "pretrain": pretrain.main,
  "privacy": privacy.main,
  "pruning": pruning.main,
  "quickstart": quickstart.main,
  "reliability": reliability.main,
  "rerank": rerank.main,
  "scaling": scaling.main,
  "segmentation": segmentation.main,
  "sift": sift.main,
  "shifted_sets": shifted_sets.main,
  "similarity": similarity.main,
  "unlearning": unlearning.main,
}

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.")
WORKDIR = flags.DEFINE_string("workdir", None, "Where results go.")


def main(argv: list[str]) -> None:
  """Joins the other processes, opens the workdir, runs the experiment."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}.")
  distributed.initialize()
  run(CONFIG.value, WORKDIR.value)


def run(config, path: str) -> None:
  """Runs one config into one workdir, unless it is there already."""
  config.lock()
  if config.experiment not in EXPERIMENTS:
    raise ValueError(
      f"There is no experiment {config.experiment!r}; there are:"
      f" {', '.join(EXPERIMENTS)}."
    )
  workdir = open_workdir(path, config.to_dict())
  if distributed.everyone(workdir.finished):
    logging.info("Already finished: %s", workdir.path / "report.html")
    return
  mesh = distributed.make_mesh()
  EXPERIMENTS[config.experiment](config, workdir, mesh)
  workdir.finish()
  distributed.barrier(f"finished {path}")  # Whoever goes on finds it done.
  if distributed.is_lead():
    print(f"Report: {workdir.path / 'report.html'}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  app.run(main)
