"""The encoder `procedural_patches`: a dictionary of patches of shader pictures.

  python -m experiments.launch --config=configs/dictionary.py \\
      --workdir=work/dictionary

No gradient, no label, no photograph: pictures of random programs, k-means on
their patches, whitening of what they respond (`pretraining.dictionary`). Some
minutes on two CPU cores. Writes procedural_patches.npz and its card, which
are the ones in visual_memory/encoders/shipped; the same config on the same
platform gives the same encoder.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` learns a tiny dictionary."""
  config = ml_collections.ConfigDict()
  config.experiment = "dictionary"
  config.name = "procedural_patches"
  config.seed = 0  # Of programs, views and patches.

  config.pictures = ml_collections.ConfigDict()
  config.pictures.num_programs = 12_000
  config.pictures.per_program = 1
  config.pictures.options = ml_collections.ConfigDict()  # To sample_images.
  config.pictures.options.family = "shaders"

  config.learn = "all"  # "whitening": random words; "nothing": all random.
  config.dictionary = ml_collections.ConfigDict()
  config.dictionary.size = 32  # Of the pictures, too.
  config.dictionary.patch = 6
  config.dictionary.num_words = 400
  config.dictionary.grid = 3
  config.dictionary.threshold = 0.25
  config.dictionary.dim = 384
  config.dictionary.num_patches = 100_000
  config.dictionary.rounds = 10
  config.dictionary.patch_ridge = 0.1
  config.dictionary.ridge = 1.0
  if evaluate.is_smoke(arg):
    config.pictures.num_programs = 32
    config.pictures.per_program = 2
    config.pictures.options.family = "fractal_noise"  # Compiles quickly.
    config.dictionary.size = 8
    config.dictionary.patch = 3
    config.dictionary.num_words = 16
    config.dictionary.grid = 2
    config.dictionary.dim = 16
    config.dictionary.num_patches = 500
    config.dictionary.rounds = 2
  return config
