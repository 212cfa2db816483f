"""Figure 10: segmentation from one prompt, over all of ADE20K's validation set.

  python -m experiments.launch --config=configs/paper_procedural/figure10.py \\
      --workdir=work/figure10

An hour on one accelerator. The paper shows one pair of pictures (soft IoU 0.24,
0.22 after the cut, for KML Mixup); no number over a data set is published.
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
  config.title = "Figure 10: segmentation from one prompt"
  use_models(config.encoders)
  for name in config.encoders:
    at_448(config.encoders[name])
  sections = (config.memory, "training"), (config.data, "validation")
  for section, split in sections:
    section.source = "ade20k"
    section.options.path = path("ADEChallengeData2016")
    section.options.split = split
  config.tasks = ("prompts",)
  config.num_prompts = 512
  return config
