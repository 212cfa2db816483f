"""Classes that join a memory: their rows and queries."""

import dataclasses

from jax.sharding import Mesh

from visual_memory.analysis import lifelong
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import SourceSettings, StudySettings
from visual_memory.types import EmbeddedSet


@dataclasses.dataclass(frozen=True, kw_only=True)
class LifelongSettings:
  """Whether labels are joined by number, as published (wrongly)."""

  merged_as_published: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, the classes that join it, and queries of theirs."""

  lifelong: LifelongSettings
  added: SourceSettings
  added_data: SourceSettings


def new_rows(
  config: Settings, workdir: Workdir, mesh: Mesh, study: Study
) -> tuple[EmbeddedSet, EmbeddedSet]:
  """The new rows and their queries: other images, or the rows themselves."""
  cache_dir = opening.cache_dir(config, workdir)
  embed = lambda section: opening.embed(
    study.encoder, opening.open_source(section), mesh, cache_dir, config.embed
  )[0]
  with study.clock("embed new"):
    added = embed(config.added)
    asked = embed(config.added_data) if config.added_data.source else None
  added = lifelong.joined(
    study.embedded.class_names,
    study.embedded.labels,
    added,
    ids=study.embedded.ids,
    merged_as_published=config.lifelong.merged_as_published,
  )
  if asked is None:
    return added, added
  if config.lifelong.merged_as_published:
    raise ValueError(
      "lifelong.merged_as_published goes with queries that are the new rows"
      " themselves: leave added_data empty."
    )
  return added, asked
