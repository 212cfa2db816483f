"""What single neighbors and votes of one encoder are worth."""

import dataclasses
from typing import Any

from visual_memory.analysis import calibration, confidence
from visual_memory.reports.page import Section
from visual_memory.reports.sections import confidence as of_votes
from visual_memory.reports.sections import neighbors as of_neighbors
from visual_memory.studies import linear_probes
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, bins of calibration, accuracies to reach by declining.

  Attributes:
    num_bins: of calibration.
    promises: the accuracies.
    probe: whose confidence stands beside the votes'.
  """

  probe: linear_probes.RegressionSettings
  num_bins: int
  promises: tuple[float, ...]


def of_one(
  config: Settings, study: Study, *, probed: bool
) -> tuple[list[Section], dict[str, Any]]:
  """The sections and values of one encoder; with a linear probe if probed."""
  with study.clock("reliability"):
    curve = calibration.reliability(study.near, study.labels)
    fit = None
    if study.near.k > 1:
      fit = calibration.fit_logarithm(study.near, study.labels)
    hits = calibration.hit_rate(study.near, study.labels)
  with study.clock("confidence"):
    found = confidence.confident_votes(
      study.held_out, study.tuning,
      settings=config.voting.settings(),
      ks=study.usable(config.voting.ks),
      num_classes=study.num_classes, num_bins=config.num_bins,
      promises=config.promises,
    )  # fmt: skip
  linear, beside = [], {}
  if probed and config.probe.strengths and linear_probes.can_learn(study):
    with study.clock("linear probe"):
      probe = linear_probes.lbfgs(config.probe, study, seed=config.seed)
      given = linear_probes.calibrated(
        probe.fitted, study, num_bins=config.num_bins
      )
    linear = [of_votes.linear(given, strength=probe.strength)]
    beside["linear"] = of_votes.linear_values(given, strength=probe.strength)
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
    *linear,
    of_votes.published_bins(counts, entropies, published.without_last()),
    of_votes.abstention(found),
  ]
  return parts, of_neighbors.values(curve, fit, hits) | {
    "confidence": of_votes.values(found) | beside,
    "counts_of_neighbors": of_votes.bins_values(counts),
    "entropy": of_votes.bins_values(entropies),
  }
