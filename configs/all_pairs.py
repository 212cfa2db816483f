"""The nearest other rows of every row of a memory, block by block on disk.

  python -m experiments.launch --config=configs/all_pairs.py \\
      --config.cache_dir=work/cache --workdir=work/all_pairs

By default CIFAR-10 by its pixels: 50,000 rows in blocks of 8,192, some ten
minutes on two CPU cores. A stopped run goes on at the block that it was at.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` takes a part of the bundled digits."""
  config = cifar10.of("all_pairs", arg, title="All pairs")
  config.k = 10
  config.block_rows = 8192 if arg != "smoke" else 256
  return config
