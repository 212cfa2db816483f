"""One memory, several test sets of other images, every protocol."""

import numpy as np
from jax.sharding import Mesh

from visual_memory.analysis import choosing, shifted_sets
from visual_memory.reports.sections import shifted_sets as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import cached_search, opening
from visual_memory.studies.shifted_sets import Settings, open_set
from visual_memory.studies.study import finish_study, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  study = open_study(config, workdir, mesh)
  ks = study.usable(config.voting.ks)
  choices = choosing.choose_each(
    study.tuning,
    settings=config.voting.settings(),
    ks=ks,
    num_classes=study.num_classes,
  )
  found, counts = {}, {}
  for name, section in config.sets.items():
    with study.clock(name):
      queries, truth = open_set(config, workdir, mesh, study, section)
      found[name] = [
        shifted_sets.score_set(
          near,
          truth,
          protocol=protocol,
          choices=choices,
          ks=ks,
          num_competing=competing,
          num_classes=study.num_classes,
          seed=config.seed,
          min_max=section.layout == "real",
        )
        for protocol, near, competing in _protocols(
          config,
          workdir,
          mesh,
          study,
          queries,
          truth,
          max(ks),
          every_class=section.layout == "real",
        )
      ]
    counts[name] = {
      "queries": len(queries),
      "without a label, dropped": truth.num_empty,
    }
  parts, values = sections.sections(found, counts)
  finish_study(workdir, config, study, sections=parts, values=values)


def _protocols(config, workdir, mesh, study, queries, truth, k, *, every_class):
  """(name, neighbors, competing classes) of every protocol."""
  near = study.search(queries, k, leave_one_out=False)
  present = np.unique(study.embedded.labels)
  yield "all classes", near, len(present)
  own = np.intersect1d(np.unique(truth.labels), present)
  if every_class or len(own) in (0, len(present)):
    return  # There are no other classes, or none of its own.
  yield "own classes, votes", shifted_sets.only_classes(near, own), len(own)
  rows = study.embedded.take(np.isin(study.embedded.labels, own))
  search = cached_search.Search(
    rows, mesh, opening.cache_dir(config, workdir), config.retrieval
  )
  yield (
    "own classes, rows",
    search(queries, k, leave_one_out=False),
    len(own),
  )
