"""Figure 3: error against the size of the memory, DINOv2 ViT-S/14.

  python -m experiments.launch --config=configs/paper/figure3_small.py \\
      --config.cache_dir=work/cache --workdir=work/figure3_small

One large accelerator; minutes once embedded. Published: the error of ViT-S/14
with all 1.28 million images is that of ViT-B/14 with 150,000 and of ViT-L/14
with 70,000.
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
  return on_imagenet(
    config, "Figure 3: growing the memory, small", "dinov2_vits14"
  )
