"""Table 3: hard and soft pruning of ImageNet, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/table3.py \\
      --config.cache_dir=work/cache --workdir=work/table3

One large accelerator; once embedded, the search of all rows among themselves
takes minutes there. Published accuracy in percent (plurality, distance,
softmax, rank): 83.2, 83.3, 83.6, 83.6 without, 83.3, 83.4, 83.6, 83.7 with
hard and 83.6, 83.6, 83.9, 84.1 with soft pruning; the maximum over k on the
test queries.
"""

import ml_collections

from configs import pruning
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `pruning`."""
  config = pruning.get_config(arg)
  if arg == "smoke":
    return config
  config.voting.ks = tuple(range(1, 101))
  return on_imagenet(config, "Table 3: pruning")
