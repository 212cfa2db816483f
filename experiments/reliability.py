"""What single neighbors and votes are worth: reliability and confidence."""

import dataclasses

from jax.sharding import Mesh

from visual_memory.analysis import calibration, confidence, reliability
from visual_memory.reports.sections import confidence as of_votes
from visual_memory.reports.sections import encoders_overlaid as overlaid
from visual_memory.reports.sections import neighbors as of_neighbors
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, bins of calibration, accuracies to reach by declining."""

  num_bins: int
  promises: tuple[float, ...]


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Reliability, hit rate, calibration and abstention, for each encoder."""
  studies, parts, values = {}, {}, {}
  for name, own in opening.by_encoder(config).items():
    studies[name] = open_study(own, workdir, mesh)
    parts[name], values[name] = _of_one(config, studies[name])
  first = next(iter(studies))
  lines = lambda key: {
    name: overlaid.by_place(found[key]) for name, found in values.items()
  }
  compared = overlaid.sections(
    [
      overlaid.Overlay(
        name="reliability", lines=lines("reliability"), x_log=True,
        x_label="i, the neighbor's rank",
        y_label="accuracy of the i-th neighbor (%)",
      ),
      overlaid.Overlay(
        name="hit_rate", lines=lines("hit_rate"), x_log=True,
        x_label="k, neighbors looked at", y_label="class among them (%)",
      ),
    ],
    prose=("All that follows is of the first encoder.",),
  )  # fmt: skip
  finish_study(
    workdir,
    config,
    studies[first],
    sections=[*compared, *parts[first]],
    values=values[first] | {"encoders": values},
  )


def _of_one(config, study):
  """The sections and values of one encoder."""
  with study.clock("reliability"):
    curve = reliability.reliability(study.near, study.labels)
    fit = None
    if study.near.k > 1:
      fit = reliability.fit_logarithm(study.near, study.labels)
    hits = reliability.hit_rate(study.near, study.labels)
  with study.clock("confidence"):
    found = confidence.confident_votes(
      study.held_out, study.tuning,
      settings=config.voting.settings(),
      ks=study.usable(config.voting.ks),
      num_classes=study.num_classes, num_bins=config.num_bins,
      promises=config.promises,
    )  # fmt: skip
  with study.clock("counts"):
    asked = (study.near, study.labels)
    counts = calibration.count_bins(*asked, k=study.near.k)
    entropies, published = (
      calibration.entropy_bins(
        *asked, k=study.near.k, num_classes=study.num_classes,
        empirical_maximum=as_published,
      )
      for as_published in (False, True)
    )  # fmt: skip
  parts = [
    of_neighbors.reliability(curve, fit, hits),
    of_votes.calibration(found),
    of_votes.published_bins(counts, entropies, published.without_last()),
    of_votes.abstention(found),
  ]
  return parts, of_neighbors.values(curve, fit, hits) | {
    "confidence": of_votes.values(found),
    "counts_of_neighbors": of_votes.bins_values(counts),
    "entropy": of_votes.bins_values(entropies),
  }
