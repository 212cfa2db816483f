"""The map of 50,000 rows, beside UMAP's and openTSNE's.

  python -m experiments.benchmarks.maps \\
      --config=configs/benchmark_maps.py --workdir=work/maps

About four minutes on two CPU cores; the peers are `pip install umap-learn
openTSNE`, in an environment of their own if you like.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` has 600 rows."""
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.peers = ("ours", "umap", "opentsne")
  config.num_rows = 600 if smoke else 50_000
  config.dim = 32 if smoke else 384
  config.num_classes = 6 if smoke else 100
  config.spread = 1.0
  config.num_asked = 100 if smoke else 1000
  config.repeats = 2 if smoke else 1
  return config
