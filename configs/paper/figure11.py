"""Figures 11 and 13: hit rate and reliability, CLIP ViT-L/14.

  python -m experiments.launch --config=configs/paper/figure11.py \\
      --config.cache_dir=work/cache --workdir=work/figure11

One large accelerator; minutes once embedded. Published as curves only.
"""

import ml_collections

from configs import reliability
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `reliability`."""
  config = reliability.get_config(arg)
  if arg == "smoke":
    return config
  return on_imagenet(config, "Figure 11: hit rate, CLIP", "clip_vitl14")
