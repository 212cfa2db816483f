"""Table 5: linear decoding of ImageNet beside the vote, KML Mixup.

  python -m experiments.launch --config=configs/paper_procedural/table5.py \\
      --config.cache_dir=work/cache --workdir=work/table5

DINOv2's grid of 52 probes holds the paper's one (class tokens of the last four
blocks); the best is chosen on tuning rows. Hours on one accelerator. Published:
47.3 % by the probe (best epoch on the validation set), 37.9 % by the vote.
"""

import os

import ml_collections

from configs import linear_probe
from configs.paper_procedural import path, use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `linear_probe`."""
  config = linear_probe.get_config(arg)
  if arg:
    return config
  config.title = "Table 5: linear decoding, KML Mixup"
  config.encoder.name = "dino_vits16"
  config.encoder.weights = os.path.join(path("weights"), "kml_mixup.pth")
  config.encoder.options = ml_collections.ConfigDict()
  use_folder(config.memory, "imagenet", "train")
  use_folder(config.data, "imagenet", "val")
  return config
