"""Table 10 and appendix K: storage and latency, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/table10.py \\
      --config.cache_dir=work/cache --workdir=work/table10

One large accelerator; minutes once embedded. Published: 4.9 GB of embeddings;
500 to 600 queries per second and removal within 20 ms, by ScaNN's
documentation.
"""

import ml_collections

from configs import latency
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `latency`."""
  config = latency.get_config(arg)
  if arg == "smoke":
    return config
  return on_imagenet(config, "Table 10: storage and latency")
