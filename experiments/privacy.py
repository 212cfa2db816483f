"""How many rows can be told from the answers, for every voter and k."""

from jax.sharding import Mesh

from visual_memory.analysis.influence import privacy_curve
from visual_memory.reports.sections import encoders_overlaid as overlaid
from visual_memory.reports.sections import privacy as privacy_sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening
from visual_memory.studies.finishing import finish_studies
from visual_memory.studies.study import open_study
from visual_memory.studies.study_settings import StudySettings as Settings


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Counts them for each encoder, and writes the report of all."""
  studies, found, most = {}, {}, max(config.voting.ks) + 1
  for name, own in opening.by_encoder(config).items():
    study = open_study(own, workdir, mesh, max_k=most, tune=False)
    ks = study.usable(config.voting.ks, beyond=1)
    with study.clock("privacy"):
      found[name] = privacy_curve(
        study.near,
        study.labels,
        study.embedded.ids,
        settings=config.voting.settings(),
        ks=ks,
        num_classes=study.num_classes,
      )
    studies[name] = study
  first = next(iter(studies))
  voter = found[first][-1].name
  compared = overlaid.sections(
    [
      overlaid.Overlay(
        name="privacy",
        lines={
          name: {
            100 * item.accuracy: 100 * item.non_private
            for item in items
            if item.name == voter and item.accuracy is not None
          }
          for name, items in found.items()
        },
        x_label="accuracy (%)",
        y_label="non-private rows (%)",
        caption=f"By the {voter} vote; one point for each k.",
      )
    ],
  )
  values = {
    name: privacy_sections.sections(items)[1] for name, items in found.items()
  }
  finish_studies(
    workdir, config, studies, values=values, compared=compared,
    sections=privacy_sections.sections(found[first])[0],
  )  # fmt: skip
