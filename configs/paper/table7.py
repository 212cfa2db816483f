"""Table 7: voters at k = 10 to 100 on ImageNet, CLIP ViT-L/14.

  python -m experiments.launch --config=configs/paper/table7.py \\
      --config.cache_dir=work/cache --workdir=work/table7

One large accelerator; minutes once embedded. Published accuracy in percent
(plurality, distance, softmax, rank): 79.0, 79.2, 79.3, 79.3 at k = 10 and
77.0, 77.1, 78.2, 79.7 at k = 100.
"""

import ml_collections

from configs import aggregation
from configs.paper import voters


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `aggregation`."""
  config = aggregation.get_config(arg)
  if arg == "smoke":
    return config
  return voters(config, "Table 7: voters, CLIP ViT-L/14", "clip_vitl14")
