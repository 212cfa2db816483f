"""Table 1: 64 classes of NINCO join ImageNet's memory, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/table1.py \\
      --config.cache_dir=work/cache --workdir=work/table1

One large accelerator; minutes once embedded. Published (nearest row, then
plurality, distance, softmax and rank at their best k): ImageNet's queries 81.1,
83.2, 83.3, 83.6, 83.6 before and 81.1, 83.2, 83.3, 83.5, 83.6 after; NINCO's
86.4, 86.9, 87.1, 87.5, 87.4.
"""

import ml_collections

from configs import lifelong
from configs.paper import on_imagenet, use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `lifelong`."""
  if arg:
    return lifelong.get_config(arg)
  config = lifelong.get_config("ninco")
  use_folder(config.added, "ninco")
  config.voting.ks = tuple(range(1, 101))
  return on_imagenet(config, "Table 1: lifelong learning")
