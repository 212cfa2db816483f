"""A memory that labels a pool of rows itself, and grows by what it is sure of.

The labelled rows vote on the pool; agreement, voter and k are chosen on tuning
rows; test queries, and those of other sets, are scored once for each memory.
"""

from jax.sharding import Mesh

from visual_memory.analysis import choosing
from visual_memory.reports.sections import unlabeled_growth as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import cached_search, opening, unlabeled_growth
from visual_memory.studies.shifted_sets import open_set
from visual_memory.studies.study import finish_study, needs_images, open_study
from visual_memory.studies.unlabeled_growth import Settings
from visual_memory.voting import queries as queries_lib


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Labels the pool, grows the memory, and scores every memory."""
  study = open_study(config, workdir, mesh)
  needs_images(study)
  labeled, pool = unlabeled_growth.split(config, study)
  cache_dir = opening.cache_dir(config, workdir)

  def search(rows, asked):
    found = cached_search.Search(rows, mesh, cache_dir, config.retrieval)
    return found(asked, max(config.voting.ks), leave_one_out=False)

  with study.clock("label the pool"):
    choice = choosing.choose(
      queries_lib.tuning_queries(
        search(labeled, study.tune), study.tune.labels, study.tune.ids,
        held_out=study.held_out,
      ),
      settings=config.voting.settings(),
      ks=[k for k in config.voting.ks if k <= len(labeled)],
      num_classes=study.num_classes,
    )  # fmt: skip
    grown = unlabeled_growth.memories(
      labeled, pool, search(labeled, pool), choice,
      agreements=config.unlabeled.agreements, num_classes=study.num_classes,
    )  # fmt: skip
  with study.clock("other sets"):
    others = {}
    for name, section in config.sets.items():
      if section.source:
        others[name], _ = open_set(config, workdir, mesh, study, section)
  with study.clock("score"):
    found = [
      unlabeled_growth.scored(one, search, study, config, others)
      for one in grown
    ]
  parts, values, tiles = sections.sections(grown, found, seed=config.seed)
  finish_study(
    workdir, config, study, sections=parts, values=values, tiles=tiles
  )
