"""The dynamic memory's speed: a stream of 50,000 embeddings, 1,000 classes.

  python -m experiments.benchmarks.dual_memory \\
      --config=configs/benchmark_dual_memory.py --workdir=work/bench_dmn

L = 50 slots, D = 512, float32: 102 MB of state. Beside it, on a slice of the
stream whose memory is as full, torch reads one image after the other as the
released code does. The aim on two CPU cores is a minute, compilation included.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is a stream of 300."""
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.num_queries = 300 if smoke else 50_000
  config.num_classes = 10 if smoke else 1000
  config.num_slots = 4 if smoke else 50
  config.dim = 32 if smoke else 512
  config.peer_queries = 20 if smoke else 60
  return config
