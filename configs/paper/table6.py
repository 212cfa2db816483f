"""Table 6: voters at k = 10 to 100 on ImageNet, DINOv2 ViT-S/14.

  python -m experiments.launch --config=configs/paper/table6.py \\
      --config.cache_dir=work/cache --workdir=work/table6

One large accelerator; minutes once embedded. Published accuracy in percent
(plurality, distance, softmax, rank): 78.6, 78.8, 78.9, 78.9 at k = 10 and
75.9, 76.0, 77.7, 78.8 at k = 100.
"""

import ml_collections

from configs import aggregation
from configs.paper import voters


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `aggregation`."""
  config = aggregation.get_config(arg)
  if arg == "smoke":
    return config
  return voters(config, "Table 6: voters, DINOv2 ViT-S/14", "dinov2_vits14")
