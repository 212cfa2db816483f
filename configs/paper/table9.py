"""Table 9: the best k of every voter, DINOv2 and CLIP ViT-L/14.

  python -m experiments.launch --config=configs/paper/table9.py \\
      --config.cache_dir=work/cache --workdir=work/table9

One large accelerator; minutes once embedded. Published accuracy in percent
(none, plurality, distance, softmax, rank): 81.1, 83.2, 83.3, 83.6, 83.6 by
DINOv2 and 76.0, 79.2, 79.4, 79.6, 79.9 by CLIP; the maximum over k on the test
queries.
"""

import ml_collections

from configs import aggregation
from configs.paper import voters


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `aggregation`."""
  config = aggregation.get_config(arg)
  if arg == "smoke":
    return config
  return voters(config, "Table 9: best k", "dinov2_vitl14", "clip_vitl14")
