"""Figures 2, 7, 8 and 9: voters, k and hyper-parameters, all encoders.

  python -m experiments.launch --config=configs/paper/figure2.py \\
      --config.cache_dir=work/cache --workdir=work/figure2

One large accelerator; minutes once embedded. Published as curves; their values
at k = 10 to 100 are tables 4 to 8.
"""

import ml_collections

from configs import aggregation
from configs.paper import ENCODERS, voters


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `aggregation`."""
  config = aggregation.get_config(arg)
  if arg == "smoke":
    return config
  return voters(config, "Figures 2, 7 to 9: all encoders", *ENCODERS)
