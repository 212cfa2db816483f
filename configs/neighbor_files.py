"""The neighbors of a memory's queries and rows, written to files.

  python -m experiments.launch --config=configs/neighbor_files.py \\
      --config.cache_dir=work/cache --workdir=work/neighbor_files

Then any analysis that needs no search runs without images or encoder:

  python -m experiments.launch --config=configs/aggregation.py \\
      --config.neighbors.queries=work/neighbor_files/queries.npz \\
      --config.neighbors.rows=work/neighbor_files/rows.npz --workdir=work/again

and in the same way from the paper's published JSON files. By default CIFAR-10
by its pixels: 10,000 x 100 neighbors are 8 MB as .npz and 40 MB as JSON. A
minute on two CPU cores once the neighbors are in the cache.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` writes a part of the bundled digits."""
  config = cifar10.of("neighbor_files", arg, title="Neighbor files")
  config.published = True  # Also as the published JSON.
  config.precision = "exact"  # Of the .npz; or float16.
  return config
