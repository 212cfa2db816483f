"""How error falls as the memory grows, and the law that it follows."""

import numpy as np
from jax.sharding import Mesh

from visual_memory.analysis import growth
from visual_memory.data import selection
from visual_memory.reports.sections import encoders_overlaid as overlaid
from visual_memory.reports.sections import robustness
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval import exact
from visual_memory.studies import cached_search, growing, opening
from visual_memory.studies.growing import Settings
from visual_memory.studies.study import finish_study, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Grows each encoder's memory with each seed, and fits laws to the errors.

  The tuning rows are taken out of the memory, so that every size can be tuned
  on the same queries.
  """
  cached_search.require_exact(config.retrieval)
  studies, points, parts, values = {}, {}, {}, {}
  for name, own in opening.by_encoder(config).items():
    studies[name] = open_study(own, workdir, mesh)
    points[name] = _grown(config, workdir, mesh, studies[name])
    laws, misses = growing.laws_of(points[name])
    parts[name] = robustness.growth(
      points[name], laws, misses, far=config.growth.far
    )
    values[name] = robustness.growth_values(points[name], laws, misses)
  first = next(iter(studies))
  table, same = growing.same_error(points)
  compared = overlaid.sections(
    [
      overlaid.Overlay(
        name=f"growth_{voter}", x_log=True, y_log=True,
        lines={
          name: growing.mean_errors(found[voter])
          for name, found in points.items()
        },
        x_label="rows of the memory", y_label=f"error, {voter} vote (%)",
      )
      for voter in points[first]
    ],
    prose=("All that follows is of the first encoder.",),
    tables=(table,),
  )  # fmt: skip
  finish_study(
    workdir, config, studies[first],
    sections=[*compared, parts[first]],
    values={
      "growth": values[first],
      "encoders": {name: {"growth": v} for name, v in values.items()},
      "rows_for_the_same_error": same,
    },
  )  # fmt: skip


def _grown(config, workdir, mesh, study):
  """Points of every voter, at every size and seed."""
  tuned = selection.among(study.embedded.ids, study.tune.ids)
  if tuned.all():
    raise ValueError(
      "No row is left beside the tuning rows: give the memory more rows, or"
      " set voting.tune_fraction."
    )
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
      steps = [step for step in steps if len(step)]  # No size comes twice.
      sizes = np.cumsum([len(step) for step in steps])
      grown = growth.growing_neighbors(
        search, rows, steps, k=max(config.voting.ks)
      )
      for size, near in zip(sizes, grown, strict=True):
        found = growing.points_of(study, near, settings, int(size))
        logged = {name: point.accuracy for name, point in found.items()}
        workdir.log(seed=seed, rows=int(size), **logged)
        for name, point in found.items():
          points[name].append(point)
  return points
