"""Figures 8 and 15: the nearest pictures of ImageNet by every encoder.

  python -m experiments.launch --config=configs/paper_procedural/figure8.py \\
      --config.cache_dir=work/cache --workdir=work/figure8

The first picture of 40 classes of the validation split with its nearest of the
train split. An hour on one accelerator. No numbers are published.
"""

import ml_collections

from configs import galleries
from configs.paper_procedural import use_folder, use_models


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `galleries`."""
  config = galleries.get_config(arg)
  if arg:
    return config
  config.title = "Figures 8 and 15: nearest pictures by encoder"
  use_models(config.encoders)
  use_folder(config.memory, "imagenet", "train")
  use_folder(config.data, "imagenet", "val")
  config.shown.per_class, config.shown.count = 1, 40
  return config
