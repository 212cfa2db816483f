"""A dictionary of patches from config sections: pictures, then an encoder."""

import hashlib
import json
import pathlib

import jax
import numpy as np

from visual_memory import distributed
from visual_memory.data.image_source import ImageSource
from visual_memory.pretraining import dictionary, pools, random_dictionary
from visual_memory.procedural.programs import GRAMMAR_VERSION

_VERSION = 1
"""Raised whenever the same config begins to give another dictionary."""

LEARNED = ("all", "whitening", "nothing")
"""What config.learn may say: with "whitening" the words are random."""


class Cache:
  """Pictures and dictionaries by what they are of, in a directory."""

  def __init__(self, path):
    """Nothing is made before it is asked for."""
    self._path = pathlib.Path(path) / "dictionaries"

  def pictures(self, config) -> ImageSource:
    """The pictures of a config, rendered if they are not there."""
    identity = {"seed": config.seed, **config.pictures.to_dict()}
    path = self._path / _name(config, "pictures", identity)
    if distributed.is_lead():
      open_pictures(config, path)
    distributed.barrier(f"pictures {path}")
    return open_pictures(config, path)

  def dictionary(self, config, source: ImageSource | None) -> pathlib.Path:
    """The weights of a config, learned from its pictures if not there."""
    path = self._path / f"{_name(config, config.learn, config.to_dict())}.npz"
    # The card is written last.
    if distributed.is_lead() and not path.with_suffix(".json").exists():
      learn(config, source, path, training={})
    distributed.barrier(f"dictionary {path}")
    return path


def _name(config, what: str, identity: dict) -> str:
  """Of a file: readable, and another for another identity."""
  versions = _VERSION, GRAMMAR_VERSION
  text = json.dumps([*versions, identity], sort_keys=True)
  family = config.pictures.options.family or "none"
  return f"{family}-{what}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def open_pictures(config, path: pathlib.Path) -> ImageSource:
  """The pictures that a config names, rendered into a directory or there."""
  pictures = config.pictures.to_dict()
  options = pictures.pop("options")
  pools.write_pool(path, seed=config.seed, **pictures, **options)
  return pools.open_pool(path)


def learn(
  config, source: ImageSource | None, path: pathlib.Path, *, training: dict
) -> pathlib.Path:
  """Learns what config.learn says, and exports; the path of the weights.

  Args:
    config: as configs/dictionary.py has it.
    source: pictures; None where nothing is learned.
    path: of the encoder, without its suffix.
    training: further values for the card.

  Raises:
    ValueError: config.learn is none of LEARNED.
  """
  if config.learn not in LEARNED:
    raise ValueError(
      f"learn={config.learn!r} must be one of: {', '.join(LEARNED)}."
    )
  settings = dictionary.DictionarySettings(
    size=config.pictures.size, **config.dictionary
  )
  key = jax.random.key(config.seed)
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
      "config": config.to_dict(),
      **training,
    },
  )
