"""Removals, one after the other: their time, utility and forgetting."""

import shutil

from jax.sharding import Mesh

from visual_memory.reports.sections import unlearning as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.store.store import Store
from visual_memory.studies import cached_search, opening, removals
from visual_memory.studies.removals import Settings
from visual_memory.studies.study import finish_study, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Removes from memory and store alike, and compares with a rebuilt memory."""
  cached_search.require_exact(config.retrieval)
  study = open_study(config, workdir, mesh)
  choice = opening.chosen(config, study)
  path = workdir.path / "store"
  shutil.rmtree(path, ignore_errors=True)
  build = lambda rows: cached_search.exact_memory(rows, mesh, config.retrieval)
  with study.clock("store"):
    store = Store.create(path, study.embedded)
  state, found = removals.Removals(study, choice, build), []
  for name, ids in removals.cases(study.embedded, **vars(config.removals)):
    with study.clock(name):
      found.append(state.remove(name, ids, store))
      workdir.log(removal=name, complete=found[-1].forgetting.complete)
  with study.clock("verify"):
    checked = store.verify()
  shutil.rmtree(path)
  finish_study(
    workdir,
    config,
    study,
    sections=[sections.removals(found, choice, checked)],
    values={"removals": [sections.values(removal) for removal in found]},
  )
