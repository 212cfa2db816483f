"""The border: what a config says, to frozen settings.

  settings = from_config.settings(config, study_settings.StudySettings)

Nothing past it sees a ConfigDict. A config is checked whole, before any work.
"""

from typing import TypeVar

import ml_collections

from visual_memory.studies.from_values import from_values

_Settings = TypeVar("_Settings")


def settings(
  config: ml_collections.ConfigDict, kind: type[_Settings]
) -> _Settings:
  """The settings of this kind; raises as `from_values` does."""
  return from_values(config.to_dict(), kind)


_MASKED = ("ade20k", "camvid", "coco", "shapes", "voc")
_PATCHES = 100
"""What a picture with a mask counts as: it is asked patch by patch."""


def draw(config, rows: int, queries: int) -> None:
  """Leaves so many drawn images of every source in a config; its title too.

  Of pictures with masks a hundredth; of pictures that a dictionary is learned
  from as many as of rows, or as it needs.
  """
  if "recipe" in config:
    pictures = config.recipe.pictures
    enough = max(rows, 2 * config.recipe.dictionary.dim)
    pictures.num_programs = min(pictures.num_programs, enough)
  for path, section in _sources(config):
    asked = path[0] in ("data", "added_data", "sets", "outside")
    most = queries if asked or path[-1] == "data" else rows
    if section.source in _MASKED:
      most = max(2, most // _PATCHES)
    section.sample = min(section.sample or most, most)
  config.title += f" – at most {rows:,} rows, {queries:,} queries"


def _sources(section, path=()):
  """Every source in a config, with the keys that lead to it."""
  if "sample" in section and "source" in section:
    yield path, section
  for key, value in section.items():
    if hasattr(value, "items"):
      yield from _sources(value, (*path, key))


def parse_axis(config, axis: str) -> tuple[str, list]:
  """The key of an axis and its values, typed as the config's value is.

  Raises:
    ValueError: no such key in the config, no value, or one of another type.
  """
  key, found, text = axis.partition("=")
  if not found or not text:
    raise ValueError(f"--sweep={axis}: write KEY=VALUE,VALUE,...")
  owner, name = config, key
  while "." in name:
    part, _, name = name.partition(".")
    owner = owner.get(part, {}) if hasattr(owner, "get") else {}
  if name not in owner:
    raise ValueError(f"The config has no key {key!r}.")
  kind = owner.get_type(name)
  if kind not in (str, int, float, bool):
    raise ValueError(f"{key} is a {kind.__name__}: only numbers, texts and"
                     " truth values can be swept.")  # fmt: skip
  try:
    return key, [_typed(value, kind) for value in text.split(",")]
  except ValueError as error:
    raise ValueError(f"--sweep={axis}: {error}.") from error


def _typed(text: str, kind: type):
  """A value of this type from its text."""
  if kind is bool:
    if text.lower() not in ("true", "false"):
      raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
  return kind(text)
