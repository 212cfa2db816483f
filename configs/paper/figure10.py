"""Figure 10: wrong labels in the memory, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/figure10.py \\
      --config.cache_dir=work/cache --workdir=work/figure10

One large accelerator; minutes once embedded. Published as a curve: accuracy by
the rank vote is about flat up to 60 % of random labels.
"""

import ml_collections

from configs import label_noise
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `label_noise`."""
  config = label_noise.get_config(arg)
  if arg == "smoke":
    return config
  return on_imagenet(config, "Figure 10: label corruption")
