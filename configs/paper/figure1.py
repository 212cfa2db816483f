"""Figures 1, 11, 13 and 15: reliability, hit rate, calibration, DINOv2.

  python -m experiments.launch --config=configs/paper/figure1.py \\
      --config.cache_dir=work/cache --workdir=work/figure1

One large accelerator; minutes once embedded. Published: about 98 % of the
queries have a row of their class among the first 100; accuracy of the i-th
neighbor falls as a logarithm (coefficients are not given).
"""

import ml_collections

from configs import reliability
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `reliability`."""
  config = reliability.get_config(arg)
  if arg == "smoke":
    return config
  return on_imagenet(config, "Figures 1, 11, 15: reliability")
