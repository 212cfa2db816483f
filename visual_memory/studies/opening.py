"""From settings to an encoder, a source, its embeddings, a choice."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from visual_memory.analysis import choosing
from visual_memory.data import selection, sources
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders import encoder as encoder_lib
from visual_memory.encoders.embedding import embed as embed_lib
from visual_memory.encoders.encoder import Encoder
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import study_settings
from visual_memory.types import EmbeddedSet


def load_encoder(settings: study_settings.EncoderSettings) -> Encoder:
  """The encoder that settings describe; raises as `load_encoder` does."""
  values = {
    field.name: getattr(settings, field.name)
    for field in dataclasses.fields(settings)
  }
  options = values.pop("options")
  return encoder_lib.load_encoder(**values, **options)


def open_source(
  settings: study_settings.SourceSettings | None,
) -> ImageSource | None:
  """The source that settings describe; None if they name none."""
  if settings is None or not settings.source:
    return None
  given = {k: v for k, v in settings.options.items() if v is not None}
  source = sources.open_source(settings.source, **given)
  if settings.classes:
    source = selection.only_classes(source, settings.classes)
  return source


def sampled(
  settings: study_settings.SourceSettings, count: int, *, seed: int
) -> ImageSource:
  """Some rows of a source, drawn by their ids; with count 0 all."""
  return selection.sample(open_source(settings), count, seed=seed)


def cache_dir(
  settings: study_settings.StudySettings, workdir: Workdir
) -> pathlib.Path:
  """Where a run keeps embeddings and neighbors."""
  return pathlib.Path(settings.cache_dir or workdir.path / "cache")


def embed(
  encoder: Encoder,
  source: ImageSource,
  mesh: Mesh,
  cache_dir: pathlib.Path,
  settings: study_settings.EmbedSettings,
) -> tuple[EmbeddedSet, embed_lib.EmbedReport]:
  """The EmbeddedSet of a source and the report of how it went."""
  return embed_lib.embed_with_report(
    encoder,
    source,
    mesh=mesh,
    cache_dir=pathlib.Path(cache_dir) / "embeddings",
    batch_size=settings.batch_size,
    num_workers=settings.num_workers,
  )


def chosen(config: study_settings.StudySettings, study: Any) -> choosing.Choice:
  """The voter and k that a study's tuning rows prefer, among the settings'."""
  return choosing.choose(
    study.tuning,
    settings=config.voting.settings(),
    ks=[k for k in config.voting.ks if k <= study.near.k],
    num_classes=study.num_classes,
  )


def named_encoders(
  encoders: Mapping[str, study_settings.EncoderSettings],
) -> dict[str, study_settings.EncoderSettings]:
  """Those that are encoders, by name: an entry without a name is none."""
  return {name: section for name, section in encoders.items() if section.name}
