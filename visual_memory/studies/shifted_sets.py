"""Test sets of other images: their queries and right labels."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from jax.sharding import Mesh

from visual_memory.analysis import shifted_sets
from visual_memory.data import relabeling
from visual_memory.memory.matching import match_classes
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import SourceSettings, StudySettings
from visual_memory.types import EmbeddedSet
from visual_memory.voting.metrics import LabelSets, label_sets


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetSettings(SourceSettings):
  """A test set: classes by names, by numbers, or listed as ReaL's are."""

  layout: Literal["names", "numbers", "real"]
  labels: str

  def paths(self) -> list[str]:
    """The files and folders that have to be there."""
    return super().paths() + ([self.labels] if self.labels else [])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and the sets that it is asked about."""

  sets: Mapping[str, SetSettings]


def open_set(
  config: StudySettings,
  workdir: Workdir,
  mesh: Mesh,
  study: Study,
  section: SetSettings,
) -> tuple[EmbeddedSet, LabelSets]:
  """The embedded queries of a set and their right labels."""
  names = study.embedded.class_names
  source = opening.open_source(section)
  if section.layout == "numbers":
    source = relabeling.numbered(source, class_names=names)
  cache_dir = opening.cache_dir(config, workdir)
  queries, _ = opening.embed(
    study.encoder, source, mesh, cache_dir, config.embed
  )
  if section.layout == "real":
    sets = (
      relabeling.real_labels(
        section.labels, queries.ids, num_classes=len(names)
      )
      if section.labels
      else relabeling.tfds_label_sets(source)
    )
    return queries, label_sets(sets)
  class_names, labels = match_classes(names, queries)
  return (
    dataclasses.replace(queries, labels=labels, class_names=class_names),
    shifted_sets.truth_of(labels),
  )
