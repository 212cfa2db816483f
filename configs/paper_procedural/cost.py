"""The paper's cost section: a memory of ImageNet beside a linear probe.

  python -m experiments.launch --config=configs/paper_procedural/cost.py \\
      --config.cache_dir=work/cache --workdir=work/cost

KML Mixup; an hour on one accelerator, most of it the probe's. Published: 1.5
GPU hours of embedding against 96 of training; 50,000 answers in 4 minutes
against 1 minute 52 seconds; 2 GiB of rows. Our probe is fitted to embeddings by
L-BFGS; the paper's is trained through the frozen network.
"""

import os

import ml_collections

from configs import cost
from configs.paper_procedural import path, use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `cost`."""
  config = cost.get_config(arg)
  if arg:
    return config
  config.title = "The cost of a memory of ImageNet, KML Mixup"
  config.encoder.name = "dino_vits16"
  config.encoder.weights = os.path.join(path("weights"), "kml_mixup.pth")
  use_folder(config.memory, "imagenet", "train")
  use_folder(config.data, "imagenet", "val")
  return config
