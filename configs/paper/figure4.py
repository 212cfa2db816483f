"""Figure 4: discovering the species of iNaturalist, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/figure4.py \\
      --config.cache_dir=work/cache --workdir=work/figure4

One large accelerator; 600,000 images of train_mini and val to embed, half an
hour. Published: without any image of a species, its genus is right for 35.2 %
of the queries.
"""

import ml_collections

from configs import inaturalist
from configs.paper import use_encoder, use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `inaturalist`."""
  config = inaturalist.get_config(arg)
  if arg == "smoke":
    return config
  config.title = "Figure 4: species discovery"
  use_encoder(config.encoder, "dinov2_vitl14")
  use_folder(config.memory, "inaturalist", "train_mini")
  use_folder(config.data, "inaturalist", "val")
  return config
