"""Segmentation without training, on CamVid's street scenes.

  python -m experiments.launch --config=configs/segmentation.py \\
      --workdir=work/segmentation

A memory of the patches of 120 frames segments 60 others; beside it what three
principal components of the features know of the classes, one-prompt
segmentation, and k-means. For the encoders of `config.encoders`: RGB patches,
a vision transformer with random weights, the encoder of procedural pictures
that comes with the package (its responses around each cell, and its embedding
of the window around each cell), and one of your own:

      --config.encoders.own.name=dinov2_vits14 \\
      --config.encoders.own.weights=FILE

The voter and k are chosen on frames of the memory, held out whole. About ten
minutes on two CPU cores. Other data in the published layouts: camvid, voc,
ade20k, coco (`--config.memory.source=voc --config.memory.options.path=DIR`).
"""

import os

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` segments a few frames with tiny encoders."""
  config = evaluate.get_config()
  config.experiment = "segmentation"
  config.title = "Segmentation of CamVid"
  root = os.environ.get("VISUAL_MEMORY_DATA", "../shared/data")
  for section, split in ((config.memory, "train"), (config.data, "test")):
    section.source = "camvid"
    section.options.path = os.path.join(root, "camvid_180.zip")
    section.options.split = split

  config.encoders = ml_collections.ConfigDict()
  config.encoders.rgb = evaluate.encoder("pixels", size=128)
  config.encoders.random = evaluate.encoder("vit_random", size=128, depth=6)
  config.encoders.procedural = evaluate.encoder("procedural_patches")
  config.encoders.procedural.image_size = 128
  config.encoders.windows = evaluate.encoder(
    "procedural_patches", dense="windows"
  )
  config.encoders.windows.image_size = 128
  config.encoders.own = evaluate.encoder("")  # None.
  del config.encoder

  config.tasks = ("neighbors", "components", "prompts", "clusters")
  config.num_prompts = 0  # Drawn from the rows' pictures; 0: all.
  config.voting.ks = (1, 5, 20, 50, 100)
  config.per_image = ml_collections.config_dict.placeholder(int)  # Patches.
  config.images_at_once = 8
  config.background = -1  # A class that pixel accuracy can leave out.
  config.pca_size = 112
  config.num_clusters = 8
  config.temperatures = (0.003, 0.01, 0.03)  # Of attention, to choose among.
  config.num_choosing = 60  # Prompts that choose it.
  config.prompts_held_out = 0.3  # Of these, that are asked about.
  config.num_spread = 16  # Of the prompts, whose tokens are looked at.
  config.least_share = 0.01  # Of a picture, to be asked for by a prompt.
  config.shown = 4  # Pictures in the figures.
  if evaluate.is_smoke(arg):
    config.title = "Segmentation of a few frames"
    config.memory.source = config.data.source = "shapes"
    config.memory.options = ml_collections.ConfigDict({"split": "train"})
    config.data.options = ml_collections.ConfigDict({"split": "test"})
    config.encoders.rgb.options.size = 16
    config.encoders.procedural.name = config.encoders.windows.name = ""
    config.encoders.random.options.update(
      size=16, depth=1, dim=24, heads=2, patch=4
    )
    config.voting.ks = (1, 5)
    config.voting.tune_fraction = 0.3
    config.temperatures = (0.01, 0.1)
    config.pca_size = 16
    config.num_clusters = 3
    config.shown = 1
  return config
