"""A memory that grows: what voters make of it, and the laws it follows."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory.analysis import growth, scaling_law
from visual_memory.reports.formats import percent
from visual_memory.reports.tables import Table
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


def points_of(
  study: Study,
  near: Neighbors,
  settings: Mapping[str, weighting.Setting],
  size: int,
) -> dict[str, growth.GrowthPoint]:
  """Every voter on the memory of this size.

  Args:
    study: with tuning rows, which are not in that memory.
    near: the neighbors there of the test queries, then of the tuning rows.
    settings: the voters by name.
    size: rows of that memory.
  """
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


def laws_of(
  points: Mapping[str, Sequence[growth.GrowthPoint]],
) -> tuple[dict[str, dict], dict[str, dict]]:
  """Both laws of every voter, and how far each misses from a tenth.

  No law takes part of memories without errors (it has no zero) or of one row.
  A voter with fewer than two sizes left has no laws; a law with fewer than two
  up to a tenth of the largest misses by an unknown amount, None.
  """
  laws, misses = {}, {}
  for name, found in points.items():
    fitted = [p for p in found if p.accuracy < 1 and p.num_rows > 1]
    sizes = np.array([point.num_rows for point in fitted])
    errors = np.array([1 - point.accuracy for point in fitted])
    laws[name], misses[name] = {}, {}
    if len(set(sizes)) < 2:
      continue
    small = sizes.max() / 10
    for form in scaling_law.FORMS:
      laws[name][form] = scaling_law.fit_law(form, sizes, errors)
      enough = len(set(sizes[sizes <= small])) > 1
      misses[name][form] = (
        scaling_law.extrapolation_error(
          form, sizes, errors, largest_fitted=small
        )
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
        name: scaling_law.rows_for_error(
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
