"""Appendix J: linear probes on ImageNet, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/appendix_j.py \\
      --config.cache_dir=work/cache --workdir=work/appendix_j

One large accelerator; the tokens of the last four blocks are embedded anew,
and take 26 GB of memory. Published (by DINOv2's authors, on random crops):
86.3 %.
"""

import ml_collections

from configs import linear_probe
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `linear_probe`."""
  config = linear_probe.get_config(arg)
  if arg == "smoke":
    return config
  config.probe.batch_size = 1024
  config.probe.strengths = tuple(10.0**power for power in range(-6, 7, 2))
  config.probe.refinements, config.probe.max_steps = 4, 1000
  return on_imagenet(config, "Appendix J: linear probes")
