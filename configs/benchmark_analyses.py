"""Every analysis of 50,000 x 100 neighbors, timed.

  python -m experiments.benchmarks.analyses \\
      --config=configs/benchmark_analyses.py --workdir=work/benchmark_analyses

Expected on two CPU cores: each under 2 s after compilation. A minute in all.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` times a thousandth of it."""
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.num_queries = 256 if smoke else 50_000
  config.num_rows = 300 if smoke else 50_000
  config.num_classes = 10
  config.k = 100
  config.repeats = 1 if smoke else 3
  return config
