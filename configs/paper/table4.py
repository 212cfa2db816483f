"""Table 4: voters at k = 10 to 100 on ImageNet, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/table4.py \\
      --config.cache_dir=work/cache --workdir=work/table4

One large accelerator; minutes once embedded. Published accuracy in percent
(plurality, distance, softmax, rank): 83.2, 83.3, 83.5, 83.5 at k = 10 and
81.4, 81.5, 82.9, 83.3 at k = 100.
"""

import ml_collections

from configs import aggregation
from configs.paper import voters


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `aggregation`."""
  config = aggregation.get_config(arg)
  if arg == "smoke":
    return config
  return voters(config, "Table 4: voters, DINOv2 ViT-L/14", "dinov2_vitl14")
