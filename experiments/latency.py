"""How fast a memory answers and changes, and how much room it takes."""

from jax.sharding import Mesh

from visual_memory.reports.sections import latency as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import cached_search, costs, opening
from visual_memory.studies.costs import LatencySettings as Settings
from visual_memory.studies.finishing import finish_studies
from visual_memory.studies.study import open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Times queries and edits of each encoder's memory, and weighs its files."""
  cached_search.require_exact(config.retrieval)
  studies, found = {}, {}
  for name, own in opening.by_encoder(config).items():
    studies[name] = open_study(own, workdir, mesh, tune=False)
    found[name] = costs.measured(own, workdir, mesh, studies[name])
  first = next(iter(studies))
  values = {name: sections.values(one) for name, one in found.items()}
  finish_studies(
    workdir, config, studies, values=values,
    compared=sections.compared(found), sections=sections.latency(found[first]),
  )  # fmt: skip
