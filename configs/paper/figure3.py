"""Figure 3: error against the size of the memory, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/figure3.py \\
      --config.cache_dir=work/cache --workdir=work/figure3

One large accelerator; minutes once embedded. Published: 41 % error with one
image of each class; the memory of billions needs data that are not public.
"""

import ml_collections

from configs import scaling
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `scaling`."""
  config = scaling.get_config(arg)
  if arg == "smoke":
    return config
  config.growth.per_class = (1, 10, 100, 1000, 10_000)  # The last: all.
  return on_imagenet(config, "Figure 3: growing the memory")
