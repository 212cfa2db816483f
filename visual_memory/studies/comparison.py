"""Encoders to compare: given, or learned and kept."""

import dataclasses
from collections.abc import Iterator, Mapping

from visual_memory.data.image_source import ImageSource
from visual_memory.reports.workdir import Clock, Workdir
from visual_memory.studies import dictionary, opening
from visual_memory.studies.study_settings import (
  EncoderSettings,
  SourceSettings,
  StudySettings,
  replaced,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """What to remember, and what to ask."""

  memory: SourceSettings
  data: SourceSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned:
  """A dictionary by the recipe but for these; 0: as the recipe says."""

  family: str
  learn: str
  num_words: int
  dim: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """Encoders by name, given or learned, and what they are compared on."""

  baseline: str
  tasks: Mapping[str, Task]
  recipe: dictionary.Settings
  learned: Mapping[str, Learned]
  learned_encoder: EncoderSettings
  whitened: tuple[float, ...]
  left_out: tuple[str, ...]
  notes: tuple[str, ...]
  series: Mapping[str, tuple[str, ...]]


def ways(config: Settings, name: str) -> dict[str, float | None]:
  """An encoder's name as it is, and whitened by each ridge: to the ridge."""
  plain = {name: config.retrieval.whitening}
  return plain | {
    f"{name}, whitened" if ridge == 1 else f"{name}, whitened {ridge:g}": ridge
    for ridge in config.whitened
  }


def encoders(
  config: Settings,
  workdir: Workdir,
  pictures: dict[str, ImageSource],
  clock: Clock,
) -> Iterator[tuple[str, EncoderSettings]]:
  """The name and section of each encoder, learned where it is not there yet.

  Encoders without the weights they need are left out. `pictures` gets the
  pictures of each family.
  """
  wanted = lambda sections: (
    item for item in sections.items() if item[0] not in config.left_out
  )
  for name, section in wanted(config.encoders):
    if section.name and (section.name != "procedural" or section.weights):
      yield name, section
  cache = dictionary.Cache(opening.cache_dir(config, workdir))
  for name, entry in wanted(config.learned):
    words = config.recipe.dictionary
    own = replaced(
      config.recipe,
      learn=entry.learn,
      pictures__options={
        **config.recipe.pictures.options, "family": entry.family
      },
      dictionary__num_words=entry.num_words or words.num_words,
      dictionary__dim=entry.dim or words.dim,
    )  # fmt: skip
    if entry.family and entry.family not in pictures:
      with clock(f"pictures of {entry.family}"):
        pictures[entry.family] = cache.pictures(own)
    with clock(f"learn {name}"):
      weights = cache.dictionary(own, pictures.get(entry.family))
    yield name, replaced(config.learned_encoder, weights=str(weights))
