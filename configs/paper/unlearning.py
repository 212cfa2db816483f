"""Section 3.4: unlearning a class of ImageNet, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/unlearning.py \\
      --config.cache_dir=work/cache --workdir=work/unlearning

One large accelerator; minutes once embedded. Published: removal is exact by
construction, within 20 ms a row.
"""

import ml_collections

from configs import unlearning
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `unlearning`."""
  config = unlearning.get_config(arg)
  if arg == "smoke":
    return config
  config.removals.label = "n02391049"  # Zebra.
  return on_imagenet(config, "Section 3.4: unlearning")
