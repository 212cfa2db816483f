"""Every table and figure of a paper that there is data for.

  python -m experiments.paper --data=DIR --workdir=work/paper \\
      [--paper=procedural] [--only=table4,figure8] [--list]

Prints ours beside the published numbers (configs/published.py), and keeps them
in workdir/paper.md and paper.json. What has no data is skipped and says what is
missing; what was run before is not run again. Embeddings and neighbors are
shared through workdir/cache. What DIR holds: see configs/paper.py and
configs/paper_procedural.py.
"""

import os
import pathlib
import sys

from absl import app, flags

from configs import paper as visual_memory_paper
from configs import paper_procedural, published
from experiments import from_config, launch, terminal
from visual_memory import distributed
from visual_memory.studies import papers
from visual_memory.studies.before_work import weights_below

PAPERS = {
  "visual_memory": (visual_memory_paper, published.VISUAL_MEMORY),
  "procedural": (paper_procedural, published.PROCEDURAL),
}
"""The tables of each paper's configs, and its numbers by their names."""

_DATA = flags.DEFINE_string("data", None, "Where the data sets are.")
_PAPER = flags.DEFINE_enum("paper", "visual_memory", list(PAPERS), "Which.")
_ONLY = flags.DEFINE_list("only", [], "Names of its configs; default: all.")
_LIST = flags.DEFINE_bool("list", False, "Say what would run, and stop.")


def main(argv: list[str]) -> None:
  """Runs what can be run; fails if a run failed."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}.")
  if not _DATA.value or not launch.WORKDIR.value:
    raise app.UsageError("Name --data=DIR and --workdir=DIR.")
  distributed.initialize()
  table, numbers = PAPERS[_PAPER.value]
  configs = load_configs(_DATA.value, _ONLY.value, table)
  if _LIST.value:
    print(papers.listing(settings_of(configs), without=table.WITHOUT))
    return
  outcomes = run(configs, launch.WORKDIR.value, published=numbers)
  if distributed.is_lead():
    print((pathlib.Path(launch.WORKDIR.value) / "paper.md").read_text())
  if any(value["state"] == "failed" for value in outcomes.values()):
    sys.exit(1)


def load_configs(data: str, only: list[str], table) -> dict:
  """A paper's configs by name, over the data sets of one directory.

  Raises:
    ValueError: a name of `only` that there is no config of.
  """
  os.environ["VISUAL_MEMORY_DATA"] = str(data)
  names = only or list(table.VARIANTS)
  configs = {name: table.get_config(name) for name in names}
  for config in configs.values():
    given = [config.get("encoder"), *config.get("encoders", {}).values()]
    for section in given:
      if section is not None and section.name:
        section.weights = section.weights or weights_below(data, section.name)
    for name, section in list(config.get("encoders", {}).items()):
      if section.weights and not os.path.exists(section.weights):
        del config.encoders[name]  # Its own weights are not there.
  return configs


def settings_of(configs: dict) -> dict:
  """The settings of each config, by name."""
  return {
    name: from_config.settings(config, launch.load(config).Settings)
    for name, config in configs.items()
  }


def run(configs: dict, path: str, *, published) -> dict[str, dict]:
  """Runs the configs that can be run, over one cache: see `papers.run`."""
  for config in configs.values():
    if "cache_dir" in config:
      config.cache_dir = str(pathlib.Path(path) / "cache")
  return papers.run(
    settings_of(configs),
    path,
    published=published,
    launch=lambda name, folder: launch.run(configs[name], folder),
  )


if __name__ == "__main__":
  terminal.run(main)
