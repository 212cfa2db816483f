"""Table 5: voters at k = 10 to 100 on ImageNet, DINOv2 ViT-B/14.

  python -m experiments.launch --config=configs/paper/table5.py \\
      --config.cache_dir=work/cache --workdir=work/table5

One large accelerator; minutes once embedded. Published accuracy in percent
(plurality, distance, softmax, rank): 81.8, 81.9, 82.0, 82.1 at k = 10 and
79.6, 79.7, 81.3, 81.9 at k = 100.
"""

import ml_collections

from configs import aggregation
from configs.paper import voters


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `aggregation`."""
  config = aggregation.get_config(arg)
  if arg == "smoke":
    return config
  return voters(config, "Table 5: voters, DINOv2 ViT-B/14", "dinov2_vitb14")
