"""What a memory knows of a taxonomy: discovery curves and the KS descent."""

import dataclasses

import numpy as np
from jax.sharding import Mesh

from visual_memory.analysis import discovery
from visual_memory.reports.sections import hierarchy as hierarchy_sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening
from visual_memory.studies.opening import TaxonomySettings
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings
from visual_memory.voting import hierarchy


@dataclasses.dataclass(frozen=True, kw_only=True)
class HierarchySettings:
  """Rows of the curves, and queries and bins of the descent; 0: all."""

  exemplars: tuple[int, ...]
  rows_per_class: int
  descent_queries: int
  num_bins: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory and the taxonomy of its classes."""

  taxonomy: TaxonomySettings
  hierarchy: HierarchySettings


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  options = config.hierarchy
  study = open_study(config, workdir, mesh, tune=False)
  tree = opening.open_taxonomy(config.taxonomy, study.rows_source)
  opening.require_placed(tree, study.labels, study.class_names)
  rows = study.embedded
  kept = rows.take(
    discovery.first_per_class(rows.labels, options.rows_per_class)
  )
  most = discovery.most_exemplars(study.labels, kept.labels)
  with study.clock("discovery curves"):
    curve = discovery.discovery_curve(
      study.queries.embeddings,
      study.labels,
      kept.embeddings,
      kept.labels,
      tree,
      exemplars=[m for m in options.exemplars if m <= most],
    )
  asked = np.arange(len(study.queries))[: options.descent_queries or None]
  with study.clock("descent"):
    descent = hierarchy.descend(
      study.queries.embeddings[asked],
      rows.embeddings,
      rows.labels,
      tree,
      num_bins=options.num_bins,
    )
  sections, values = hierarchy_sections.sections(
    curve,
    descent,
    tree,
    left_out=[m for m in options.exemplars if m > most],
    labels=study.labels[asked],
    nearest=np.asarray(study.near.labels)[asked, 0],
  )
  finish_study(workdir, config, study, sections=sections, values=values)
