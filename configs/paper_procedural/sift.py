"""Table 1's SIFT row: bags of 150 words on ImageNet.

  python -m experiments.launch --config=configs/paper_procedural/sift.py \\
      --workdir=work/sift

20,000 pictures of the train split (a support vector machine does not scale to
all), 10,000 of val; hours on one core. Published: 3.08 %.
"""

import ml_collections

from configs import sift
from configs.paper_procedural import use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `sift`."""
  config = sift.get_config(arg)
  if arg:
    return config
  config.title = "Table 1, SIFT on ImageNet"
  use_folder(config.memory, "imagenet", "train")
  use_folder(config.data, "imagenet", "val")
  config.num_rows, config.num_queries = 20_000, 10_000
  return config
