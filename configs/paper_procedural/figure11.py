"""Figures 11, 12, 18 and 19: Pascal VOC by neighbors, components and k-means.

  python -m experiments.launch --config=configs/paper_procedural/figure11.py \\
      --workdir=work/figure11

The memory is every fourth patch of the 1,464 pictures of the train split, the
queries are all 1,449 of val; an hour on one accelerator. The paper scores four
pictures by a softmax over the patches of 512: pixels right / of objects 80.6 /
15.4 % (KML), 89.4 / 55.4 % (Places); no mean IoU is published.
"""

import ml_collections

from configs import segmentation
from configs.paper_procedural import path, use_models
from configs.paper_procedural.table2 import at_448


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `segmentation`."""
  config = segmentation.get_config(arg)
  if arg:
    return config
  config.title = "Figures 11, 12, 18 and 19: Pascal VOC by patches"
  use_models(config.encoders)
  for name in config.encoders:
    at_448(config.encoders[name])
  for section, split in ((config.memory, "train"), (config.data, "val")):
    section.source = "voc"
    section.options.path = path("VOCdevkit/VOC2012")
    section.options.split = split
  config.tasks = ("neighbors", "components", "clusters")
  config.per_image = 196
  config.background = 0
  return config
