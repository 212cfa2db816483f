"""From settings to an encoder, a source, its embeddings, a choice.

check(settings)          # raises ValueError: what no run could do
missing(settings)        # "there is no photos.zip", or ""
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float32

from visual_memory.analysis import choosing
from visual_memory.data import relabeling, selection, sources, taxonomy
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders import encoder
from visual_memory.encoders import encoder as encoder_lib
from visual_memory.encoders.embedding import embed as embed_lib
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.text import class_texts, templates, text_encoder
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import study_settings
from visual_memory.studies.study_settings import (
  EncoderSettings,
  SourceSettings,
  StudySettings,
)
from visual_memory.types import EmbeddedSet


def load_encoder(settings: study_settings.EncoderSettings) -> Encoder:
  """The encoder that settings describe; raises as `load_encoder` does."""
  return encoder_lib.load_encoder(**arguments(settings))


def arguments(settings: study_settings.EncoderSettings) -> dict[str, Any]:
  """The arguments of `load_encoder`, options among them."""
  values = dict(vars(settings))
  return values | dict(values.pop("options"))


def open_source(
  settings: study_settings.SourceSettings | None,
) -> ImageSource | None:
  """The source that settings describe; None if they name none."""
  if settings is None or not settings.source:
    return None
  given = {k: v for k, v in settings.options.items() if v is not None}
  source = sources.open_source(
    settings.source, class_names=settings.class_names or None, **given
  )
  if settings.classes:
    source = selection.only_classes(source, settings.classes)
  return selection.sample(source, settings.sample, seed=0)


def require_words(
  what: str, *settings: study_settings.SourceSettings | None
) -> None:
  """Raises ValueError if a source calls a class by a number or a synset.

  Args:
    what: needs words: the beginning of a sentence.
    *settings: the sources.
  """
  for source in map(open_source, settings):
    if source is not None:
      relabeling.require_words(source.class_names, what=what)


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
    resize_on=settings.resize_on,
  )


def chosen(config: study_settings.StudySettings, study: Any) -> choosing.Choice:
  """The voter and k that a study's tuning rows prefer, among the settings'."""
  return choosing.choose(
    study.tuning,
    settings=config.voting.settings(),
    ks=study.usable(config.voting.ks),
    num_classes=study.num_classes,
  )


def text_classifier(
  text: study_settings.TextSettings,
  class_names: Sequence[str],
  cache_dir: pathlib.Path,
  *,
  weights: str | None,
) -> Float32[np.ndarray, "C D"] | None:
  """The unit row of each class's texts; None without a text tower.

  Args:
    text: the tower, and what it is told.
    class_names: C of them.
    cache_dir: where the rows are kept.
    weights: of the image tower, which may hold the text tower's too.
  """
  if not text.name:
    return None
  encoder = text_encoder.load_text_encoder(
    text.name, text.weights or weights, vocabulary=text.vocabulary
  )
  texts = class_texts.class_texts(
    class_names,
    templates.templates(text.templates) if text.templates else (),
    descriptions=class_texts.read_descriptions(text.descriptions)
    if text.descriptions
    else None,
  )
  return class_texts.cached_classifier(
    encoder, texts, cache_dir=cache_dir / "texts"
  )


def by_encoder(
  config: study_settings.StudySettings,
) -> dict[str, study_settings.StudySettings]:
  """The same settings for each encoder, by its name; `encoder` comes first."""
  sections = named_encoders(config.encoders)
  if config.encoder is not None:
    sections = {config.encoder.name: config.encoder} | sections
  return {
    name: study_settings.replaced(config, encoder=section, encoders={})
    for name, section in sections.items()
  }


def named_encoders(
  encoders: Mapping[str, study_settings.EncoderSettings],
) -> dict[str, study_settings.EncoderSettings]:
  """Those that are encoders, by name: an entry without a name is none."""
  return {name: section for name, section in encoders.items() if section.name}


def tuning_mask(
  config: study_settings.StudySettings,
  ids: np.ndarray,
  *,
  leave_one_out: bool = False,
) -> Bool[np.ndarray, "N"]:
  """Which of a memory's rows choose; where a few draw none: all of them.

  Rows that are the queries, too (`leave_one_out`), are then not scored: none
  chooses where none or all would.
  """
  mask = selection.tune_mask(
    ids, fraction=config.voting.tune_fraction, seed=config.seed
  )
  if leave_one_out:
    return mask & ~mask.all()
  return mask if mask.any() else ~mask


def check(settings: Any) -> None:
  """Raises ValueError if an encoder, source, option or file is not there."""
  check_names(settings)
  reason = missing(settings)
  if reason:
    raise ValueError(f"Nothing was run: {reason}.")


def missing(settings: Any) -> str:
  """What settings need and do not find, as a sentence; empty if nothing.

  Weights that are not named are not missing: they can be downloaded. A study
  of neighbor files needs no images.
  """
  for section in _sections(settings):
    for path in section.paths() if hasattr(section, "paths") else ():
      if not os.path.exists(path):
        return f"there is no {path}"
    unmet = section.unmet() if hasattr(section, "unmet") else ""
    if unmet:
      return unmet
  return ""


def check_names(settings: Any) -> None:
  """Raises ValueError if an encoder, source or option of theirs is unknown."""
  for section in _sections(settings):
    if isinstance(section, SourceSettings) and section.opened:
      given = {k for k, v in section.options.items() if v is not None}
      sources.check_options(section.source, given)
    elif isinstance(section, EncoderSettings) and section.name:
      encoder.builder_arguments(**arguments(section))


def weights_below(data: str | os.PathLike, name: str) -> str | None:
  """An encoder's file or folder in `weights` below a directory, or None."""
  for suffix in ("", ".pth", ".pt", ".safetensors"):
    path = pathlib.Path(data) / "weights" / f"{name}{suffix}"
    if path.exists():
      return str(path)
  return None


def _sections(settings: Any) -> Iterator[Any]:
  """The settings and their sections, at any depth.

  A study of neighbor files has neither images nor an encoder.
  """
  if isinstance(settings, Mapping):
    for value in settings.values():
      yield from _sections(value)
  elif dataclasses.is_dataclass(settings):
    yield settings
    filed = isinstance(settings, StudySettings) and settings.neighbors.queries
    for field in dataclasses.fields(settings):
      if not (filed and field.name in ("encoder", "memory", "data")):
        yield from _sections(getattr(settings, field.name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaxonomySettings:
  """Where the taxonomy comes from.

  Attributes:
    source: nested folders, a table, names that spell it out, or `rows`.
    path: of the table.
    rows: for each class, its path from the top.
    levels: their names; empty: as the source has them.
  """

  source: Literal["folders", "csv", "joined_names", "rows"]
  path: str
  rows: tuple[tuple[str, ...], ...]
  levels: tuple[str, ...]

  def paths(self) -> list[str]:
    """The table that has to be there."""
    return [self.path] if self.source == "csv" else []


def require_placed(
  tree: taxonomy.Taxonomy, labels: np.ndarray, class_names: Sequence[str]
) -> None:
  """Raises ValueError for queries that a memory's taxonomy cannot place."""
  lost = labels[(labels < 0) | (labels >= tree.num_classes)]
  if len(lost):
    what = f"the class {class_names[lost[0]]!r}" if lost[0] >= 0 else "no class"
    raise ValueError(
      f"{len(lost)} queries are of {what}, which is not in the memory's"
      " taxonomy: leave them out (data.classes), or give the memory their"
      " classes."
    )


def open_taxonomy(
  section: TaxonomySettings, source: ImageSource | None
) -> taxonomy.Taxonomy:
  """The taxonomy that settings describe, of a source's classes.

  Raises:
    ValueError: the source has no nested folders, where they are asked for, or
      a class of it has no path.
  """
  names = {"levels": section.levels} if section.levels else {}
  if section.source == "folders":
    paths = getattr(source, "taxonomy", None)
    if not paths:
      raise ValueError(
        "The memory's source has no nested folders to be a taxonomy: name"
        " another taxonomy.source."
      )
    return taxonomy.from_paths(paths, **names)
  if section.source == "csv":
    return taxonomy.from_csv(section.path, class_names=source.class_names)
  if section.source == "joined_names":
    return taxonomy.from_joined_names(source.class_names, **names)
  of_class = {path[-1]: path for path in section.rows}
  lost = [name for name in source.class_names if name not in of_class]
  if lost:
    raise ValueError(
      f"taxonomy.rows ends in {', '.join(map(repr, of_class))}; there is no"
      f" path for the class {lost[0]!r}."
    )
  return taxonomy.from_paths(
    [of_class[name] for name in source.class_names], **names
  )
