"""What a memory knows of a taxonomy: discovery curves and the KS descent."""

import numpy as np

from experiments.study import finish_study, open_study
from visual_memory.analysis import discovery
from visual_memory.data import taxonomy
from visual_memory.reports.sections import hierarchy as hierarchy_sections
from visual_memory.voting import hierarchy


def main(config, workdir, mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  options = config.hierarchy
  study = open_study(config, workdir, mesh, tune=False)
  tree = open_taxonomy(config.taxonomy, study.rows_source)
  rows = study.embedded
  kept = rows.take(
    discovery.first_per_class(rows.labels, options.rows_per_class)
  )
  with study.clock("discovery curves"):
    curve = discovery.discovery_curve(
      study.queries.embeddings,
      study.labels,
      kept.embeddings,
      kept.labels,
      tree,
      exemplars=options.exemplars,
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
    labels=study.labels[asked],
    nearest=np.asarray(study.near.labels)[asked, 0],
  )
  finish_study(workdir, config, study, sections=sections, values=values)


def open_taxonomy(section, source):
  """The taxonomy that a config's section describes, of a source's classes."""
  names = {"levels": tuple(section.levels)} if section.levels else {}
  if section.source == "folders":
    paths = getattr(source, "taxonomy", None)
    if not paths:
      raise ValueError(
        "The memory's source has no nested folders to be a taxonomy: name"
        " another taxonomy.source."
      )
    return taxonomy.from_paths(paths, **names)
  if section.source == "csv":
    return taxonomy.from_csv(section.path, class_names=source.class_names)
  if section.source == "joined_names":
    return taxonomy.from_joined_names(source.class_names, **names)
  if section.source == "rows":
    of_class = {path[-1]: tuple(path) for path in section.rows}
    return taxonomy.from_paths(
      [of_class[name] for name in source.class_names], **names
    )
  raise ValueError(
    f"There is no taxonomy source {section.source!r}; there are folders, csv,"
    " joined_names, rows."
  )
