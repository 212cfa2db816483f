"""Ten gigabytes of rows on disk, searched with less than two of memory.

  python -m experiments.benchmarks.streaming \\
      --config=configs/benchmark_streaming.py --workdir=work/streaming

About two minutes on two CPU cores, most of it writing the rows; needs 10 GB of
disk, which it gives back.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` streams two megabytes."""
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.num_rows = 8_000 if smoke else 6_553_600
  config.dim = 64 if smoke else 384
  config.num_queries = 512
  config.k = 10 if smoke else 100
  config.block_rows = 1_024 if smoke else 131_072
  config.precision = "float32"
  return config
