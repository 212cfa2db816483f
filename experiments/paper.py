"""Every table and figure of the three papers that there is data for.

  python -m experiments.paper --data=DIR --workdir=work/paper \\
      [--paper=visual_memory|procedural|dual_memory] \\
      [--only=table4,figure8] [--list] [--sample=5000,1000]

Prints ours beside the published numbers (configs/published.py), and keeps them
in workdir/paper.md, paper.json and, with thumbnails and links to all reports,
index.html. Where the paper's data are not there, the experiment's own config
stands in (CIFAR-10, as a rule), if its data are; else it is skipped and says
what is missing. What was run before is not run again. With --sample so many
rows and queries of every data set take part, drawn by their ids: a paper in
small. Embeddings and neighbors are shared through workdir/cache. What DIR
holds: see configs/paper.py and configs/paper_procedural.py.
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
_PAPER = flags.DEFINE_enum("paper", "all", ["all", *PAPERS], "Which.")
_ONLY = flags.DEFINE_list("only", [], "Names of its configs; default: all.")
_SAMPLE = flags.DEFINE_list("sample", [], "Rows, queries; default: all.")
_LIST = flags.DEFINE_bool("list", False, "Say what would run, and stop.")


def main(_, path) -> None:
  """Runs what can be run; fails if a run failed."""
  distributed.initialize()
  chosen = list(PAPERS) if _PAPER.value == "all" else [_PAPER.value]
  if _ONLY.value and len(chosen) > 1:
    raise ValueError("--only names configs of one paper: give --paper, too.")
  outcomes = {}
  for paper in chosen:
    table, numbers = PAPERS[paper]
    configs = paper_configs.load_configs(_DATA.value, _ONLY.value, table)
    if _LIST.value:
      settings = paper_configs.settings_of(configs)
      print(papers.listing(settings, without=table.WITHOUT))
      continue
    outcomes[paper] = paper_configs.run(
      configs, str(path / paper), table, published=numbers,
      cache=str(path / "cache"), sample=tuple(map(int, _SAMPLE.value)),
    )  # fmt: skip
    papers.write(path, papers.together(outcomes))  # What there is so far.
  if outcomes and distributed.is_lead():
    print((path / "paper.md").read_text())
  if any(
    value["state"] == "failed"
    for found in outcomes.values()
    for value in found.values()
  ):
    sys.exit(1)


if __name__ == "__main__":
  terminal.run(main, required=("data", "workdir"))
