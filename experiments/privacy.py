"""How many rows can be told from the answers, for every voter and k."""

from experiments import stages
from experiments.study import finish_study, open_study
from visual_memory.analysis.privacy import privacy_curve
from visual_memory.reports.sections import privacy as privacy_sections


def main(config, workdir, mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  ks = tuple(config.voting.ks)
  study = open_study(config, workdir, mesh, max_k=max(ks) + 1, tune=False)
  with study.clock("privacy"):
    found = privacy_curve(
      study.near,
      study.labels,
      study.embedded.ids,
      settings=stages.voter_settings(config.voting),
      ks=ks,
      num_classes=study.num_classes,
    )
  sections, values = privacy_sections.sections(found)
  finish_study(workdir, config, study, sections=sections, values=values)
