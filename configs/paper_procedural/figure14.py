"""Figure 14: how many rows of ImageNet can be told from the answers.

  python -m experiments.launch --config=configs/paper_procedural/figure14.py \\
      --config.cache_dir=work/cache --workdir=work/figure14

Softmax at k = 20, T = 0.07; minutes on one accelerator once embedded. Published
for KML Mixup: 0.561 % of the rows, which counts only those whose removal
corrects an answer ("harmful" here; the paper's text defines any flip).
"""

import os

import ml_collections

from configs import privacy
from configs.paper_procedural import path, use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `privacy`."""
  config = privacy.get_config(arg)
  if arg:
    return config
  config.title = "Figure 14: privacy of ImageNet's rows, KML Mixup"
  config.encoder.name = "dino_vits16"
  config.encoder.weights = os.path.join(path("weights"), "kml_mixup.pth")
  config.encoder.options = ml_collections.ConfigDict()
  use_folder(config.memory, "imagenet", "train")
  use_folder(config.data, "imagenet", "val")
  config.voting.voters = ("softmax",)
  config.voting.ks = (20,)
  return config
