"""A memory that grows: what voters make of it, and the laws it follows."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from visual_memory.analysis import growth, scaling_law
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
