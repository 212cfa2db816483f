"""How many rows can be told from the answers, for every voter and k."""

from jax.sharding import Mesh

from visual_memory.analysis.privacy import privacy_curve
from visual_memory.reports.sections import privacy as privacy_sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings as Settings


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  ks = tuple(config.voting.ks)
  study = open_study(config, workdir, mesh, max_k=max(ks) + 1, tune=False)
  with study.clock("privacy"):
    found = privacy_curve(
      study.near,
      study.labels,
      study.embedded.ids,
      settings=config.voting.settings(),
      ks=ks,
      num_classes=study.num_classes,
    )
  sections, values = privacy_sections.sections(found)
  finish_study(workdir, config, study, sections=sections, values=values)
