"""Perceptual similarity: which of two pictures is closer to a third.

  python -m experiments.launch --config=configs/similarity.py \\
      --workdir=work/similarity

By default, questions made of 200 photographs by graded distortions: of two
distorted copies the weaker one is closer, by construction. Agreement should
rise with the gap of the levels. About five minutes on two CPU cores.

NIGHTS (Fu et al. 2023) in its published layout (data.csv, ref/, distort/):

      --config.triplets=nights --config.nights.path=DIR

Published on its validation split (1,720 questions, procedural-data paper,
Table 4): ImageNet 87.3, Places 83.3, KML 82.4, Shaders 81.7 %.
"""

import os

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` asks about a few scanned digits."""
  whole = evaluate.get_config()
  config = ml_collections.ConfigDict()
  config.experiment = "similarity"
  config.title = "Perceptual similarity"
  config.seed = 0  # Of levels, sides and distortions.
  config.triplets = "distorted"
  config.nights = ml_collections.ConfigDict()
  config.nights.path = ""
  config.nights.split = "val"
  config.nights.min_votes = 6

  config.photographs = whole.memory  # The source that is distorted.
  root = os.environ.get("VISUAL_MEMORY_DATA", "../shared/data")
  config.photographs.options.path = os.path.join(
    root, "imagenet_sample_200.zip"
  )
  config.photographs.options.unlabeled = True
  config.gaps = (1, 2, 4)

  config.encoders = ml_collections.ConfigDict()
  config.encoders.procedural = evaluate.encoder("procedural_patches")
  config.encoders.pixels = evaluate.encoder("pixels")
  config.encoders.random = evaluate.encoder("vit_random")
  config.encoders.own = evaluate.encoder("")  # None.
  config.measures = ("psnr", "ssim")
  config.measured_side = 224  # Of the pictures that these compare, in pixels.
  config.batch_size = 16
  if evaluate.is_smoke(arg):
    config.title = "Perceptual similarity of digits"
    config.photographs.source = "digits"
    config.photographs.options = ml_collections.ConfigDict({"split": "test"})
    config.photographs.sample = 4
    config.gaps = (1, 5)
    config.encoders.procedural.name = ""
    config.encoders.pixels.options.size = 8
    config.encoders.random.options.update(size=8, depth=1, dim=24, heads=2)
    config.measured_side = 16
  return config
