"""A memory that grows: what voters make of it, and the laws it follows."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from visual_memory.analysis import growth
from visual_memory.reports.tables import Table, percent
from visual_memory.studies import cached_search
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings
from visual_memory.types import Neighbors
from visual_memory.voting import queries as queries_lib
from visual_memory.voting import weighting


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrowthSettings:
  """Rows of each class, and sizes to extrapolate to."""

  per_class: tuple[int, ...]
  seeds: tuple[int, ...]
  far: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and how it grows."""

  growth: GrowthSettings


def grown(
  config: Settings, mesh: Mesh, study: Study, *, log: Callable[..., None]
) -> dict[str, list[growth.GrowthPoint]]:
  """Points of every voter, at every size and seed, and with all rows once.

  Args:
    config: the sizes and seeds.
    mesh: the devices that search.
    study: whose tuning rows only the last memory holds.
    log: is told the accuracies of each memory.

  Raises:
    ValueError: no row beside the tuning rows.
  """
  rows, k = study.embedded.take(study.learning), max(config.voting.ks)
  asked = np.concatenate([study.queries.embeddings, study.tune.embeddings])
  tests = np.arange(len(study.queries))
  tunes = np.arange(len(study.queries), len(asked))
  settings = config.voting.settings()
  points = {name: [] for name in settings}

  def search(part, k):
    own = cached_search.Search(part, mesh, config.cache_dir, config.retrieval)
    near = own.find(asked, k)
    study.search.note(own.audit)
    return near

  def measure(seed, size, *near):
    found = points_of(study, *near, settings, int(size))
    logged = {name: point.accuracy for name, point in found.items()}
    log(seed=seed, rows=int(size), **logged)
    for name, point in found.items():
      points[name].append(point)

  for seed in config.growth.seeds:
    with study.clock(f"seed {seed}"):
      steps = growth.nested_rows(
        rows.labels, rows.ids, per_class=config.growth.per_class, seed=seed
      )
      steps = [step for step in steps if len(step)]  # No size comes twice.
      sizes = np.cumsum([len(step) for step in steps])
      if seed != config.growth.seeds[0] and sizes[-1] == len(rows):
        steps.pop()  # What holds every row is the same for every seed.
      grown = growth.growing_neighbors(search, rows, steps, k=k)
      for size, near in zip(sizes, grown, strict=False):
        measure(seed, size, near.take(tests), near.take(tunes))
  # With the tuning rows, each of them left out of its own neighbors.
  measure(None, len(study.embedded), study.near, study.tune_near)
  return points


def points_of(
  study: Study,
  near: Neighbors,
  tune_near: Neighbors,
  settings: Mapping[str, weighting.Setting],
  size: int,
) -> dict[str, growth.GrowthPoint]:
  """Every voter on the memory of this size.

  Args:
    study: with tuning rows.
    near: the neighbors in that memory of the test queries.
    tune_near: likewise of the tuning rows, none of them its own neighbor.
    settings: the voters by name.
    size: rows of that memory.
  """
  held_out = queries_lib.held_out_queries(near, study.labels, study.queries.ids)
  tuning = queries_lib.tuning_queries(
    tune_near, study.tune.labels, study.tune.ids, held_out=held_out
  )
  return growth.growth_points(
    held_out,
    tuning,
    num_rows=size,
    settings=settings,
    num_classes=study.num_classes,
  )


def laws_of(
  points: Mapping[str, Sequence[growth.GrowthPoint]],
) -> tuple[dict[str, dict], dict[str, dict]]:
  """Both laws of every voter, and how far each misses from a tenth.

  A size is one point, the mean of its seeds: they share the test queries, and
  a large part of the rows, so that they are no independent measurements. No
  law takes part of memories without errors (it has no zero) or of one row.
  A voter with fewer than two sizes left has no laws; a law with fewer than two
  up to a tenth of the largest misses by an unknown amount, None.
  """
  laws, misses = {}, {}
  for name, found in points.items():
    means = {
      size: error / 100
      for size, error in sorted(mean_errors(found).items())
      if error > 0 and size > 1
    }
    sizes, errors = np.array(list(means)), np.array(list(means.values()))
    laws[name], misses[name] = {}, {}
    if len(sizes) < 2:
      continue
    small = sizes.max() / 10
    for form in growth.FORMS:
      laws[name][form] = growth.fit_law(form, sizes, errors)
      enough = np.sum(sizes <= small) > 1
      misses[name][form] = (
        growth.extrapolation_error(form, sizes, errors, largest_fitted=small)
        if enough
        else None
      )
  return laws, misses


def mean_errors(points: Sequence[growth.GrowthPoint]) -> dict[int, float]:
  """The error in percent at each size, its mean over the seeds."""
  of_size: dict[int, list[float]] = {}
  for point in points:
    of_size.setdefault(point.num_rows, []).append(100 * (1 - point.accuracy))
  return {size: float(np.mean(found)) for size, found in of_size.items()}


def same_error(
  points: Mapping[str, Mapping[str, Sequence[growth.GrowthPoint]]],
) -> tuple[Table, dict[str, dict[str, Any]]]:
  """How many rows each encoder needs for one error, by voter.

  The error is the one that every encoder reaches: the largest of those that
  the encoders have with all their rows.

  Args:
    points: by encoder and voter.

  Returns:
    The table, and {voter: {"error": fraction, "rows": {encoder: rows}}}.
  """
  found = {}
  for voter in next(iter(points.values())):
    errors = {name: mean_errors(of[voter]) for name, of in points.items()}
    error = max(of[max(of)] for of in errors.values()) / 100
    found[voter] = {
      "error": error,
      "rows": {
        name: growth.rows_for_error(
          error, np.array(list(of)), np.array(list(of.values())) / 100
        )
        for name, of in errors.items()
      },
    }
  encoders = list(points)
  shown = lambda rows: "-" if rows is None else f"{rows:,.0f}"
  table = Table(
    header=("voter", "error (%)", *(f"rows of {name}" for name in encoders)),
    rows=tuple(
      (voter, percent(one["error"]),
       *(shown(one["rows"][name]) for name in encoders))
      for voter, one in found.items()
    ),
    caption="Rows for the same error, between measured sizes in log space.",
    name="rows_for_the_same_error",
  )  # fmt: skip
  return table, found
