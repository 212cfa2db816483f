"""How error falls as the memory grows, and the law that it follows."""

import numpy as np

from experiments import stages
from experiments.study import finish_study, open_study
from visual_memory.analysis import growth, scaling_law
from visual_memory.reports.sections import robustness
from visual_memory.retrieval import exact
from visual_memory.voting import queries as queries_lib


def main(config, workdir, mesh) -> None:
  """Grows the memory with each seed, and fits laws to what it finds.

  The tuning rows are taken out of the memory, so that every size can be tuned
  on the same queries.
  """
  study = open_study(config, workdir, mesh)
  rows = study.embedded.take(~stages.among(study.embedded.ids, study.tune.ids))
  asked = np.concatenate([study.queries.embeddings, study.tune.embeddings])
  settings = stages.voter_settings(config.voting)

  def search(part, k):
    memory = stages.exact_memory(part, mesh, config.retrieval)
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
        found = _points(study, near, settings, int(size))
        workdir.log(seed=seed, rows=int(size), **_logged(found))
        for name, point in found.items():
          points[name].append(point)
  laws, misses = _laws(points)
  finish_study(
    workdir,
    config,
    study,
    sections=[robustness.growth(points, laws, misses, far=config.growth.far)],
    values={"growth": robustness.growth_values(points, laws, misses)},
  )


def _points(study, near, settings, size):
  """Every voter on the memory of this size."""
  count = len(study.queries)
  held_out = queries_lib.held_out_queries(
    near.take(np.arange(count)), study.labels, study.queries.ids
  )
  tuning = queries_lib.tuning_queries(
    near.take(np.arange(count, len(near))),
    study.tune.labels,
    study.tune.ids,
    held_out=held_out,
  )
  return growth.growth_points(
    held_out,
    tuning,
    num_rows=size,
    settings=settings,
    num_classes=study.num_classes,
  )


def _logged(found):
  return {name: point.accuracy for name, point in found.items()}


def _laws(points):
  """Both laws of every voter, and how far each misses from a tenth."""
  laws, misses = {}, {}
  for name, found in points.items():
    sizes = np.array([point.num_rows for point in found])
    errors = np.array([1 - point.accuracy for point in found])
    laws[name] = {
      form: scaling_law.fit_law(form, sizes, errors)
      for form in scaling_law.FORMS
    }
    misses[name] = {
      form: scaling_law.extrapolation_error(
        form, sizes, errors, largest_fitted=sizes.max() / 10
      )
      for form in scaling_law.FORMS
    }
  return laws, misses
