"""Table 8: voters at k = 10 to 100 on ImageNet, CLIP ViT-B/16.

  python -m experiments.launch --config=configs/paper/table8.py \\
      --config.cache_dir=work/cache --workdir=work/table8

One large accelerator; minutes once embedded. Published accuracy in percent
(plurality, distance, softmax, rank): 72.8, 73.1, 73.3, 73.0 at k = 10 and
70.5, 70.6, 71.7, 73.7 at k = 100.
"""

import ml_collections

from configs import aggregation
from configs.paper import voters


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `aggregation`."""
  config = aggregation.get_config(arg)
  if arg == "smoke":
    return config
  return voters(config, "Table 8: voters, CLIP ViT-B/16", "clip_vitb16")
