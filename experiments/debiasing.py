"""A bias that is planted, found by whom it misleads, and taken out."""

from jax.sharding import Mesh

from visual_memory.reports.sections import debiasing as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import cached_search, debiasing, shown
from visual_memory.studies.debiasing import Settings
from visual_memory.studies.finishing import write_edits
from visual_memory.studies.study import finish_study, needs_images, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Plants, finds, removes, measures again, and writes the report."""
  cached_search.require_exact(config.retrieval)
  study = open_study(config, workdir, mesh)
  needs_images(study)
  if study.leave_one_out:
    raise ValueError("The queries must not be rows: name config.data.")
  biased = debiasing.planted(config, workdir, mesh, study)
  study = biased.study
  with study.clock("find and remove"):
    voter, found, counts = debiasing.treated(config, workdir, mesh, biased)
  parts, values, tiles = sections.sections(
    found, voter=voter, name=config.bias.label, label=biased.label,
    labels=study.labels, marked=biased.marked, planted=biased.planted,
    counts=counts, ids=study.embedded.ids, seed=config.seed,
    row_image=shown.image_of(study.rows_source),
    links=write_edits(
      workdir, remove=study.embedded.ids[debiasing.to_remove(found)]
    ),
  )  # fmt: skip
  finish_study(
    workdir, config, study, sections=parts, values=values, tiles=tiles
  )
