"""Every table and figure of a paper that there is data for.

  python -m experiments.paper --data=DIR --workdir=work/paper \\
      [--paper=procedural|dual_memory] [--only=table4,figure8] [--list]

Prints ours beside the published numbers (configs/published.py), and keeps them
in workdir/paper.md, paper.json and, with all reports, index.html. Where the
paper's data are not there, the experiment's own config stands in (CIFAR-10, as
a rule), if its data are; else it is skipped and says what is missing. What was
run before is not run again. Embeddings and neighbors are shared through
workdir/cache. What DIR holds: see configs/paper.py and
configs/paper_procedural.py.
"""

import sys

from absl import flags

from configs import dual_memory, paper_procedural, published
from configs import paper as visual_memory_paper
from experiments import paper_configs, terminal
from visual_memory import distributed
from visual_memory.studies import papers

PAPERS = {
  "visual_memory": (visual_memory_paper, published.VISUAL_MEMORY),
  "procedural": (paper_procedural, published.PROCEDURAL),
  "dual_memory": (dual_memory, {}),  # Its reports show the published beside.
}
"""The tables of each paper's configs, and its numbers by their names."""

_DATA = flags.DEFINE_string("data", None, "Where the data sets are.")
_PAPER = flags.DEFINE_enum("paper", "visual_memory", list(PAPERS), "Which.")
_ONLY = flags.DEFINE_list("only", [], "Names of its configs; default: all.")
_LIST = flags.DEFINE_bool("list", False, "Say what would run, and stop.")


def main(_, path) -> None:
  """Runs what can be run; fails if a run failed."""
  distributed.initialize()
  table, numbers = PAPERS[_PAPER.value]
  configs = paper_configs.load_configs(_DATA.value, _ONLY.value, table)
  if _LIST.value:
    settings = paper_configs.settings_of(configs)
    print(papers.listing(settings, without=table.WITHOUT))
    return
  outcomes = paper_configs.run(configs, str(path), table, published=numbers)
  if distributed.is_lead():
    print((path / "paper.md").read_text())
  if any(value["state"] == "failed" for value in outcomes.values()):
    sys.exit(1)


if __name__ == "__main__":
  terminal.run(main, required=("data", "workdir"))
