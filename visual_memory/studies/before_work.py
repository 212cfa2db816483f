"""What settings name that there is not, told before anything is run.

check(settings)          # raises ValueError: what no run could do
missing(settings)        # "there is no photos.zip", or ""
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from visual_memory.data import sources
from visual_memory.encoders import encoder
from visual_memory.studies import opening
from visual_memory.studies.study_settings import (
  EncoderSettings,
  SourceSettings,
  StudySettings,
)


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
      encoder.builder_arguments(**opening.arguments(section))


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
