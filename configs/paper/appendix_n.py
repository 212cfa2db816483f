"""Appendix N: is the model's label the better one, on ImageNet-A?

  python -m experiments.launch --config=configs/paper/appendix_n.py \\
      --config.cache_dir=work/cache --workdir=work/appendix_n

One large accelerator; minutes once embedded, then people. Published, with a
memory that is not public: 39.3 % of 100 disagreements prefer the model's
label.
"""

import ml_collections

from configs import human_study
from configs.paper import on_imagenet, use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `human_study`."""
  config = human_study.get_config(arg)
  if arg == "smoke":
    return config
  config.human.kind = "preference"
  config.human.trials = 100
  config.human.title = "Which name fits?"
  config = on_imagenet(config, "Appendix N: preferring a label")
  use_folder(config.data, "imagenet-a")
  return config
