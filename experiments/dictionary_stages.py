"""A dictionary of patches from config sections: pictures, then an encoder."""

import pathlib

import jax
import numpy as np

from visual_memory.data.image_source import ImageSource
from visual_memory.pretraining import dictionary, pools, random_dictionary
from visual_memory.procedural.programs import GRAMMAR_VERSION

LEARNED = ("all", "whitening", "nothing")
"""What config.learn may say: with "whitening" the words are random."""


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
