"""Figure 12: distances of ImageNet's and of NINCO's images.

  python -m experiments.launch --config=configs/paper/figure12.py \\
      --config.cache_dir=work/cache --workdir=work/figure12

One large accelerator; minutes once embedded. Published as box plots of the
median distance of 100 neighbors: nothing to compare.
"""

import ml_collections

from configs import ood_distances
from configs.paper import on_imagenet, use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `ood_distances`."""
  config = ood_distances.get_config(arg)
  if arg == "smoke":
    return config
  ninco = config.outside.digits
  config.outside = ml_collections.ConfigDict()
  config.outside.ninco = ninco
  use_folder(config.outside.ninco, "ninco")
  return on_imagenet(config, "Figure 12: distances to NINCO")
