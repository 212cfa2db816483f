"""A dictionary of patches from settings: pictures, then an encoder."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from visual_memory import distributed
from visual_memory.data.image_source import ImageSource
from visual_memory.pretraining import dictionary, pools, random_dictionary
from visual_memory.procedural.programs import GRAMMAR_VERSION
from visual_memory.studies.study_settings import as_values

_VERSION = 1
"""Raised whenever the same config begins to give another dictionary."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PicturesSettings:
  """Pictures of programs: how many, and options of `write_pool`."""

  num_programs: int
  per_program: int
  options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """A dictionary and the pictures that it is learned from.

  Attributes:
    experiment: the name of the script that runs it.
    name: of the encoder.
    seed: of programs, views and patches.
    pictures: to learn from.
    learn: "whitening": the words are random; "nothing": all is.
    dictionary: how it is learned; the pictures are of its size.
  """

  experiment: str = ""
  name: str
  seed: int
  pictures: PicturesSettings
  learn: Literal["all", "whitening", "nothing"]
  dictionary: dictionary.DictionarySettings


class Cache:
  """Pictures and dictionaries by what they are of, in a directory."""

  def __init__(self, path):
    """Nothing is made before it is asked for."""
    self._path = pathlib.Path(path) / "dictionaries"

  def pictures(self, config: Settings) -> ImageSource:
    """The pictures of settings, rendered if they are not there."""
    identity = {
      "seed": config.seed,
      "size": config.dictionary.size,
      **as_values(config.pictures),
    }
    path = self._path / _name(config, "pictures", identity)
    if distributed.is_lead():
      open_pictures(config, path)
    distributed.barrier(f"pictures {path}")
    return open_pictures(config, path)

  def dictionary(
    self, config: Settings, source: ImageSource | None
  ) -> pathlib.Path:
    """The weights of settings, learned from its pictures if not there."""
    path = self._path / f"{_name(config, config.learn, as_values(config))}.npz"
    # The card is written last.
    if distributed.is_lead() and not path.with_suffix(".json").exists():
      learn(config, source, path, training={})
    distributed.barrier(f"dictionary {path}")
    return path


def _name(config: Settings, what: str, identity: dict) -> str:
  """Of a file: readable, and another for another identity."""
  versions = _VERSION, GRAMMAR_VERSION
  text = json.dumps([*versions, identity], sort_keys=True)
  family = config.pictures.options["family"] or "none"
  return f"{family}-{what}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def open_pictures(config: Settings, path: pathlib.Path) -> ImageSource:
  """The pictures that settings name, rendered into a directory or there.

  Raises:
    ValueError: too few to learn from; none is rendered then.
  """
  dictionary.check_enough(
    config.pictures.num_programs * config.pictures.per_program,
    config.dictionary,
  )
  pictures = dict(vars(config.pictures))
  options = pictures.pop("options")
  pools.write_pool(
    path, seed=config.seed, size=config.dictionary.size, **pictures, **options
  )
  return pools.open_pool(path)


def learn(
  config: Settings,
  source: ImageSource | None,
  path: pathlib.Path,
  *,
  training: dict[str, Any],
) -> pathlib.Path:
  """Learns what config.learn says, and exports; the path of the weights.

  Args:
    config: what is learned, and how.
    source: pictures; None where nothing is learned.
    path: of the encoder, without its suffix.
    training: further values for the card.
  """
  settings, key = config.dictionary, jax.random.key(config.seed)
  if config.learn == "nothing":
    params = random_dictionary.draw(settings, key=key)
  else:
    learner = {
      "all": dictionary.learn, "whitening": random_dictionary.learn_whitening
    }[config.learn]  # fmt: skip
    params = learner(np.asarray(source.images), settings, key=key)
  return dictionary.export_dictionary(
    params,
    settings,
    path,
    training={
      "grammar_version": GRAMMAR_VERSION,
      "config": as_values(config),
      **training,
    },
  )
