"""Classes arrive one after the other: a memory beside two linear heads."""

from jax.sharding import Mesh

from visual_memory.reports.sections import class_sequence as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import cached_search, class_sequence
from visual_memory.studies.class_sequence import Settings
from visual_memory.studies.study import finish_study, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Teaches every learner step by step, and writes the report."""
  cached_search.require_exact(config.retrieval)
  if not (config.data and config.data.opened):
    raise ValueError("Classes arrive beside their queries: name config.data.")
  study = open_study(config, workdir, mesh)
  found = class_sequence.taught(config, mesh, study, log=workdir.log)
  parts, values, tiles = sections.sections(
    found, reference=class_sequence.RETRAINED, seed=config.seed
  )
  finish_study(
    workdir, config, study, sections=parts, values=values, tiles=tiles
  )
