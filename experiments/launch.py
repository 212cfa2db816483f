"""Runs the experiment that a config names, on whatever devices there are.

  python -m experiments.launch --config=configs/NAME.py[:smoke] \\
      --workdir=DIR [--config.voting.k=20 ...]

Several processes (TPU pods, Slurm, Open MPI, or JAX_COORDINATOR_ADDRESS,
JAX_NUM_PROCESSES and JAX_PROCESS_ID set by hand) run the same command. Running
a stopped command again continues it.
"""

import importlib

from absl import logging

from experiments import from_config, terminal
from visual_memory import distributed
from visual_memory.reports.workdir import open_workdir
from visual_memory.studies import opening

EXPERIMENTS = (
  "aggregation", "all_pairs", "attribution", "class_sequence", "comparison",
  "composition", "cost", "debiasing", "dictionary", "dual_memory", "evaluate",
  "export", "galleries", "hierarchy", "human_study", "label_noise", "latency",
  "lifelong", "linear_probe", "neighbor_files", "ood_distances", "pretrain",
  "privacy", "pruning", "quickstart", "reliability", "rerank", "scaling",
  "segmentation", "shifted_sets", "sift", "similarity", "unlabeled_growth",
  "unlearning",
)  # fmt: skip
"""Modules of this folder, each with Settings and a main."""


def main(config, path) -> None:
  """Joins the other processes, opens the workdir, runs the experiment."""
  distributed.initialize()
  run(config, str(path))


def run(config, path: str) -> None:
  """Runs one config into one workdir, unless it is there already.

  Raises:
    ValueError: what `from_config.settings` refuses, an unknown experiment,
      or a file that is not there. Nothing has been written then.
  """
  experiment, settings = load(config), settings_of(config)
  workdir = open_workdir(
    path,
    config.to_dict(),
    may_change=getattr(settings, "may_change", ()),
    tell=logging.info,
  )
  if distributed.everyone(workdir.finished):
    logging.info("Already finished: %s", workdir.path / "report.html")
    return
  experiment.main(settings, workdir, distributed.make_mesh())
  workdir.finish()
  distributed.barrier(f"finished {path}")  # Whoever goes on finds it done.
  if distributed.is_lead():
    print(f"Report: {workdir.path / 'report.html'}")


def settings_of(config):
  """The settings of a config's experiment, all of them checked."""
  settings = from_config.settings(config.lock(), load(config).Settings)
  opening.check(settings)
  return settings


def load(config):
  """The module of the experiment that a config names, imported only now.

  Raises:
    ValueError: there is none of this name, or the config has a script of its
      own.
  """
  if "experiment" not in config:
    raise ValueError(
      "This config has a script of its own: its first lines name the command."
    )
  if config.experiment not in EXPERIMENTS:
    raise ValueError(
      f"There is no experiment {config.experiment!r}; there are:"
      f" {', '.join(EXPERIMENTS)}."
    )
  return importlib.import_module(f"experiments.{config.experiment}")


if __name__ == "__main__":
  terminal.run(main)
