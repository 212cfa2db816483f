"""Figure 5 and Table 4: agreement with people on NIGHTS.

  python -m experiments.launch --config=configs/paper_procedural/figure5.py \\
      --workdir=work/figure5

1,720 questions of the validation split; a minute on one accelerator. Published:
ImageNet 87.3, Places 83.3, KML 82.4, Shaders 81.7, StyleGAN 76.1 %.
"""

import ml_collections

from configs import similarity
from configs.paper_procedural import path, use_models


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `similarity`."""
  config = similarity.get_config(arg)
  if arg:
    return config
  config.title = "Figure 5 and Table 4: agreement with people on NIGHTS"
  use_models(config.encoders)
  config.triplets = "nights"
  config.nights.path = path("nights")
  config.photographs.options.path = path("nights")  # Not read.
  return config
