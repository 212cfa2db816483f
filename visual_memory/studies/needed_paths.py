"""Which files settings name that are not there, before anything is run."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from visual_memory.studies.study_settings import (
  EncoderSettings,
  NeighborsSettings,
  SourceSettings,
  StudySettings,
)


def missing(settings: Any) -> str:
  """What settings need and do not find, as a sentence; empty if nothing.

  Weights that are not named are not missing: they can be downloaded. A study
  of neighbor files needs no images.
  """
  for path in _needed(settings):
    if not path.exists():
      return f"there is no {path}"
  return ""


def weights_below(data: str | os.PathLike, name: str) -> str | None:
  """An encoder's file or folder in `weights` below a directory, or None."""
  for suffix in ("", ".pth", ".pt", ".safetensors"):
    path = pathlib.Path(data) / "weights" / f"{name}{suffix}"
    if path.exists():
      return str(path)
  return None


def _needed(settings: Any) -> Iterator[pathlib.Path]:
  """Every path that is named, at any depth."""
  if isinstance(settings, Mapping):
    for value in settings.values():
      yield from _needed(value)
  elif isinstance(settings, SourceSettings):
    yield from _of_source(settings)
  elif isinstance(settings, EncoderSettings):
    if settings.name and settings.weights:
      yield pathlib.Path(settings.weights)
  elif isinstance(settings, NeighborsSettings):
    yield from map(
      pathlib.Path, filter(None, (settings.queries, settings.rows))
    )
  elif dataclasses.is_dataclass(settings):
    filed = isinstance(settings, StudySettings) and settings.neighbors.queries
    for field in dataclasses.fields(settings):
      if not (filed and field.name in ("encoder", "memory", "data")):
        yield from _needed(getattr(settings, field.name))


def _of_source(settings: SourceSettings) -> Iterator[pathlib.Path]:
  """The path of a source's images, and the folder of its split."""
  path = settings.options.get("path")
  if not settings.source or not path:
    return
  path, split = pathlib.Path(path), settings.options.get("split")
  yield path
  if settings.source == "folder" and split and path.is_dir():
    yield path / split
