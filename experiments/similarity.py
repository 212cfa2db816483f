"""Which of two pictures is closer: encoders and pixel measures compared."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from jax.sharding import Mesh

from visual_memory.analysis import two_afc
from visual_memory.data import triplets
from visual_memory.reports.sections import similarity as sections
from visual_memory.reports.workdir import Clock, Workdir
from visual_memory.studies import finishing, opening
from visual_memory.studies.study_settings import (
  EncoderSettings,
  RunSettings,
  SourceSettings,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nights:
  """The published triplets.

  Attributes:
    path: where they are.
    split: which of them.
    min_votes: of people, for a triplet to be kept.
  """

  path: str
  split: str
  min_votes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
  """The questions, and who answers them."""

  triplets: Literal["distorted", "nights"]
  nights: Nights
  photographs: SourceSettings
  gaps: tuple[int, ...]
  encoders: Mapping[str, EncoderSettings]
  measures: tuple[str, ...]
  measured_side: int
  batch_size: int

  def paths(self) -> list[str]:
    """The triplets that have to be there."""
    return [self.nights.path] if self.triplets == "nights" else []


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Asks every encoder and measure the same questions."""
  clock = Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  questions = _triplets(config)
  similarities = {}
  for name, section in opening.named_encoders(config.encoders).items():
    with clock(name):
      similarities[name] = two_afc.encoder_similarities(
        opening.load_encoder(section), questions, batch_size=config.batch_size
      )
  for name in config.measures:
    with clock(name):
      similarities[name] = two_afc.pixel_similarities(
        two_afc.PIXEL_MEASURES[name], questions, side=config.measured_side
      )
  found = two_afc.compare(similarities, questions)
  finishing.finish_run(
    workdir,
    config,
    sections.sections(found),
    sections.values(found),
    tiles=sections.tiles(found),
    timings=clock.seconds,
    counts={"questions": len(questions)},
    env=env,
  )


def _triplets(config):
  """The questions that the config names."""
  if config.triplets == "nights":
    return triplets.nights(**vars(config.nights))
  return triplets.distorted(
    opening.open_source(config.photographs),
    gaps=tuple(config.gaps),
    seed=config.seed,
  )
