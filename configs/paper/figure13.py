"""Figure 13: reliability on iNaturalist 2021, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/figure13.py \\
      --config.cache_dir=work/cache --workdir=work/figure13

One large accelerator; 2.7 million images of train and 100,000 of val to embed,
two hours. Published as curves only: from about 62 % for the first neighbor to
none for the hundredth.
"""

import ml_collections

from configs import reliability
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `reliability`."""
  config = reliability.get_config(arg)
  if arg == "smoke":
    return config
  return on_imagenet(
    config, "Figure 13: reliability, iNaturalist", data="inaturalist"
  )
