"""How error falls as the memory grows, and the law that it follows."""

import numpy as np
from jax.sharding import Mesh

from visual_memory.analysis import growth
from visual_memory.data import selection
from visual_memory.reports.sections import robustness
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval import exact
from visual_memory.studies import cached_search, growing
from visual_memory.studies.growing import Settings
from visual_memory.studies.study import finish_study, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Grows the memory with each seed, and fits laws to what it finds.

  The tuning rows are taken out of the memory, so that every size can be tuned
  on the same queries.
  """
  study = open_study(config, workdir, mesh)
  tuned = selection.among(study.embedded.ids, study.tune.ids)
  rows = study.embedded.take(~tuned)
  asked = np.concatenate([study.queries.embeddings, study.tune.embeddings])
  settings = config.voting.settings()

  def search(part, k):
    memory = cached_search.exact_memory(part, mesh, config.retrieval)
    return exact.search(asked, memory, k=min(k, len(part)))

  points = {name: [] for name in settings}
  for seed in config.growth.seeds:
    with study.clock(f"seed {seed}"):
      steps = growth.nested_rows(
        rows.labels, rows.ids, per_class=config.growth.per_class, seed=seed
      )
      sizes = np.cumsum([len(step) for step in steps])
      grown = growth.growing_neighbors(
        search, rows, steps, k=max(config.voting.ks)
      )
      for size, near in zip(sizes, grown, strict=True):
        found = growing.points_of(study, near, settings, int(size))
        workdir.log(seed=seed, rows=int(size), **_logged(found))
        for name, point in found.items():
          points[name].append(point)
  laws, misses = growing.laws_of(points)
  finish_study(
    workdir,
    config,
    study,
    sections=[robustness.growth(points, laws, misses, far=config.growth.far)],
    values={"growth": robustness.growth_values(points, laws, misses)},
  )


def _logged(found):
  return {name: point.accuracy for name, point in found.items()}
