"""What single neighbors and votes are worth: reliability and confidence."""

import dataclasses

from jax.sharding import Mesh

from visual_memory.analysis import calibration, confidence, reliability
from visual_memory.reports.sections import confidence as of_votes
from visual_memory.reports.sections import neighbors as of_neighbors
from visual_memory.reports.workdir import Workdir
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, bins of calibration, accuracies to reach by declining."""

  num_bins: int
  promises: tuple[float, ...]


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Reliability, hit rate, calibration and abstention of one memory."""
  study = open_study(config, workdir, mesh)
  with study.clock("reliability"):
    curve = reliability.reliability(study.near, study.labels)
    fit = reliability.fit_logarithm(study.near, study.labels)
    hits = reliability.hit_rate(study.near, study.labels)
  with study.clock("confidence"):
    found = confidence.confident_votes(
      study.held_out,
      study.tuning,
      settings=config.voting.settings(),
      ks=config.voting.ks,
      num_classes=study.num_classes,
      num_bins=config.num_bins,
      promises=config.promises,
    )
  with study.clock("counts"):
    count = {"k": study.near.k}
    counts = calibration.count_bins(study.near, study.labels, **count)
    entropies, published = (
      calibration.entropy_bins(
        study.near,
        study.labels,
        num_classes=study.num_classes,
        empirical_maximum=as_published,
        **count,
      )
      for as_published in (False, True)
    )
  finish_study(
    workdir,
    config,
    study,
    sections=[
      of_neighbors.reliability(curve, fit),
      of_neighbors.hit_rate(hits),
      of_votes.calibration(found),
      of_votes.published_bins(counts, entropies, published.without_last()),
      of_votes.abstention(found),
    ],
    values=of_neighbors.values(curve, fit, hits)
    | {
      "confidence": of_votes.values(found),
      "counts_of_neighbors": of_votes.bins_values(counts),
      "entropy": of_votes.bins_values(entropies),
    },
  )
