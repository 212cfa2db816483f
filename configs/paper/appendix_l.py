"""Appendix L: do people predict the model, on ImageNet-A?

  python -m experiments.launch --config=configs/paper/appendix_l.py \\
      --config.cache_dir=work/cache --workdir=work/appendix_l

One large accelerator; minutes once embedded, then people. Published: 56 % of
the predictions are guessed without neighbors, 83 % with.
"""

import ml_collections

from configs import human_study
from configs.paper import on_imagenet, use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `human_study`."""
  config = human_study.get_config(arg)
  if arg == "smoke":
    return config
  config = on_imagenet(config, "Appendix L: predicting the model")
  use_folder(config.data, "imagenet-a")
  return config
