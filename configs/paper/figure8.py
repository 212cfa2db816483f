"""Figure 8: voters on iNaturalist 2021, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/figure8.py \\
      --config.cache_dir=work/cache --workdir=work/figure8

One large accelerator; 2.8 million images to embed, two hours. Published as
curves only, with a best accuracy between 48 and 65 %.
"""

import ml_collections

from configs import aggregation
from configs.paper import use_folder, voters


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `aggregation`."""
  config = aggregation.get_config(arg)
  if arg == "smoke":
    return config
  config = voters(config, "Figure 8: iNaturalist", "dinov2_vitl14")
  use_folder(config.memory, "inaturalist", "train")
  use_folder(config.data, "inaturalist", "val")
  return config
