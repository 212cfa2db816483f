"""What a search over a billion rows costs on several kinds of hardware.

  python -m experiments.plan --config=configs/plan.py \
      --config.num_rows=1300000 --config.dim=1024 --config.num_devices=1

Runs on a CPU in seconds, without the memory or the hardware it plans for: the
search is compiled for abstract arrays on as many simulated devices.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = ""):
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.num_rows = 100_000 if smoke else 1_000_000_000
  config.dim = 384
  config.k = 100
  config.num_queries = 1024  # Per call.
  config.num_devices = 4 if smoke else 256
  config.precision = "float32"  # Of the first pass; or bfloat16, int8.
  config.hardware = "v5e,v5p,h100,h200,cpu"
  config.compiled = "cpu" if smoke else "v5e"  # Compiled too; "" is none.
  return config
