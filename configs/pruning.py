"""Pruning a memory: rows that mislead, removed or discounted.

  python -m experiments.launch --config=configs/pruning.py \\
      --config.cache_dir=work/cache --workdir=work/pruning

By default CIFAR-10 by its pixels; `--config.memory` and `--config.data` name
anything else. About 10 minutes on two CPU cores, nearly all of it the search
of all 50,000 rows among themselves, which the cache keeps. Published (ImageNet
with DINOv2 ViT-L/14, table 3): hard pruning adds 0.1 points, soft 0.3 to 0.5.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` prunes a part of the bundled digits."""
  config = cifar10.of("pruning", arg, title="Pruning")

  config.pruning = ml_collections.ConfigDict()
  config.pruning.margin = 100  # Neighbors beyond max(ks), to refill from.
  config.pruning.hard_k = 100  # Neighbors that count for hard pruning.
  config.pruning.soft_k = 10  # And for soft pruning.
  config.pruning.thresholds = (32, 64, 128, 192, 256, 320, 384, 448, 512, 1024)
  config.pruning.scales = (0.875, 1.75, 3.5)
  config.pruning.exponents = (0.25, 0.5, 1.0, 2.0)
  config.pruning.net_harms = (1, 2, 3, 4, 6, 8)  # By decisions.
  config.pruning.published_threshold = 128

  if arg == "smoke":
    config.voting.ks = (1, 5)
    config.pruning.margin, config.pruning.hard_k = 50, 10
    config.pruning.soft_k = 5
    config.pruning.thresholds, config.pruning.net_harms = (2, 4), (1, 2)
    config.pruning.scales = config.pruning.exponents = (1.75,)
  return config
