"""Figures 5, 6 and 16: attribution and pruning, row by row.

  python -m experiments.launch --config=configs/paper/figure5.py \\
      --config.cache_dir=work/cache --workdir=work/figure5

One large accelerator; once embedded, the search of all rows among themselves
takes minutes there. Published as examples: nothing to compare.
"""

import ml_collections

from configs import attribution
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `attribution`."""
  config = attribution.get_config(arg)
  if arg == "smoke":
    return config
  return on_imagenet(config, "Figures 5, 6, 16: attribution")
