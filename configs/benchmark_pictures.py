"""Images per second and core: decoded, resized by the host, by the device.

  python -m experiments.benchmarks.pictures \\
      --config=configs/benchmark_pictures.py \\
      --config.data.options.path=PHOTOGRAPHS --workdir=work/pictures

A folder or .zip of a few hundred photographs that fit into memory; a minute on
two CPU cores. Expected there: see experiments/results.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` takes a few drawn pictures."""
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.data = evaluate.source("synthetic" if smoke else "folder")
  config.preprocess = "clip" if smoke else "dino"
  config.batch_size = 4 if smoke else 64
  config.threads = (1,) if smoke else (1, 2)
  config.num_rounds = 1 if smoke else 5
  if smoke:
    config.data.options = ml_collections.ConfigDict(
      {"num_images": 8, "num_classes": 2, "size": 250, "seed": 0}
    )
  else:
    config.data.options.unlabeled = True
  return config
