"""Pruned memories: searched again where queries run short; as published."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jax.sharding import Mesh

from visual_memory.analysis import pruned_votes, pruning
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import cached_search, opening
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings
from visual_memory.types import Neighbors
from visual_memory.voting import compat, weighting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruningSettings:
  """See configs/pruning.py."""

  margin: int
  hard_k: int
  soft_k: int
  thresholds: tuple[int, ...]
  scales: tuple[float, ...]
  exponents: tuple[float, ...]
  net_harms: tuple[int, ...]
  published_threshold: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and what is tried on it."""

  pruning: PruningSettings


def search_without(
  config: StudySettings, workdir: Workdir, mesh: Mesh, study: Study
) -> Callable[..., Neighbors]:
  """Searches the memory without some rows, for queries that ran short."""
  cache_dir = opening.cache_dir(config, workdir)

  def search(queries, which, excluded, k):
    tuning = isinstance(queries, pruned_votes.TuningQueries)
    asked = (study.tune if tuning else study.queries).take(which)
    pruned = cached_search.Search(
      study.embedded.take(~excluded), mesh, cache_dir, config.retrieval
    )
    return pruned(asked, k, leave_one_out=tuning)

  return search


def as_published(
  study: Study, options: PruningSettings, ks: Sequence[int]
) -> tuple[dict[str, dict[str, tuple[int, float]]], dict[str, str]]:
  """What the published protocol gives, and why a voter of it cannot vote."""
  near, most = study.held_out.near, max(ks)
  labels = np.asarray(near.labels)[:, :most]
  distances = 1 - np.asarray(near.similarities, np.float64)[:, :most]
  settings = weighting.published_settings()
  reasons = {
    voter: compat.obstacle(labels, distances, voter=voter) for voter in settings
  }
  found = pruned_votes.best_on_held_out_as_published(
    study.held_out, _published_treatments(study, options),
    row_ids=study.embedded.ids, ks=ks, num_classes=study.num_classes,
    settings={v: s for v, s in settings.items() if not reasons[v]},
  )  # fmt: skip
  return found, {
    f"as published: {voter}": why for voter, why in reasons.items() if why
  }


def _published_treatments(
  study: Study, options: PruningSettings
) -> dict[str, pruned_votes.Treatment]:
  """Counts of all rows, the published threshold and factors."""
  labels, row_ids = study.embedded.labels, study.embedded.ids
  count = lambda k: pruning.wrong_counts(
    study.rows_near, labels, row_ids, k=min(k, study.rows_near.k)
  )[0]  # fmt: skip
  return {
    "none": pruned_votes.NOTHING,
    "hard": pruned_votes.hard(
      count(options.hard_k), (options.published_threshold,)
    )[0],
    "soft": pruned_votes.soft(
      count(options.soft_k), scales=(1.75,), exponents=(1.0,)
    )[0],
  }
