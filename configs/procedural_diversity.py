"""How varied procedural pictures are, against simpler ones.

  python -m experiments.procedural_diversity \\
      --config=configs/procedural_diversity.py --workdir=work/diversity

For each family: the mean distance between pictures and the Vendi score (the
effective number of different ones), by edges (histograms of oriented
gradients), by raw pixels, and by a random ViT, and a contact sheet. Beside them
photographs, CIFAR-10's, from cifar10.zip under VISUAL_MEMORY_DATA. All at 32 x
32 pixels, as those are. Needs the extra `perception`. Three minutes on two CPU
cores. Measured (experiments/results): by edges shaders are 0.39 apart,
photographs, iterated functions and leaves of shaders (kml) 0.29, means of two
(mixup, kml_mixup) 0.27 and 0.21, dead leaves 0.21, fractal noise 0.13. The
Vendi score, of centered rows, orders them otherwise: dead leaves and fractal
noise have most; by edges and pixels photographs have least.
"""

import os

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` draws eight small pictures of two families."""
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.size = 32
  config.num_images = 1024
  config.families = (
    "shaders",
    "kml",
    "kml_mixup",
    "mixup",
    "dead_leaves",
    "fractal_noise",
    "iterated_functions",
  )
  root = os.environ.get("VISUAL_MEMORY_DATA", "../shared/data")
  config.photographs = {
    "photographs": {
      "name": "folder",
      "path": os.path.join(root, "cifar10.zip"),
      "split": "train",
    }
  }
  config.encoders = ("pixels", "vit_random")
  config.sheet_rows = 8
  config.sheet_columns = 12
  config.sheet_size = 96
  if smoke:
    config.size = 16
    config.num_images = 8
    config.families = ("dead_leaves", "fractal_noise")
    config.photographs = {}
    config.encoders = ("pixels",)
    config.sheet_rows = 2
    config.sheet_columns = 4
    config.sheet_size = 16
  return config
