"""How votes bear wrong labels in the memory."""

import dataclasses

from jax.sharding import Mesh

from visual_memory.analysis import label_noise
from visual_memory.data import selection
from visual_memory.reports.sections import robustness
from visual_memory.reports.workdir import Workdir
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings
from visual_memory.voting import metrics
from visual_memory.voting.vote import predict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
  """Fractions of wrong labels; whether a random one may be true."""

  fractions: tuple[float, ...]
  seeds: tuple[int, ...]
  keep_possible: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and how its labels go wrong."""

  noise: Noise


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Corrupts the labels in three ways, and asks every voter each time."""
  study = open_study(config, workdir, mesh)
  settings, tuning = config.voting.settings(), study.tuning
  num_classes = study.embedded.num_classes
  confused = metrics.confusion_matrix(
    predict(
      tuning.near,
      [settings["plurality"]],
      ks=(min(10, tuning.near.k),),
      num_classes=num_classes,
    )[0, 0],
    tuning.labels,
    num_classes=num_classes,
  )
  kinds = {
    "symmetric": label_noise.symmetric_noise(
      num_classes, keep_possible=config.noise.keep_possible
    ),
    "pairwise": label_noise.pairwise_noise(num_classes),
    "class-dependent": label_noise.confusion_noise(confused),
  }
  found = {}
  for kind, noise in kinds.items():
    with study.clock(kind):
      found[kind] = label_noise.noise_curve(
        study.held_out,
        tuning,
        study.embedded,
        selection.among(study.embedded.ids, study.tune.ids).nonzero()[0],
        noise=noise,
        fractions=config.noise.fractions,
        seeds=config.noise.seeds,
        settings=settings,
        ks=study.usable(config.voting.ks),
      )
  finish_study(
    workdir,
    config,
    study,
    sections=[robustness.noise(kind, curve) for kind, curve in found.items()],
    values={
      "noise": {
        kind: robustness.noise_values(curve) for kind, curve in found.items()
      }
    },
  )
