"""CIFAR-10 by its raw pixels: the floor that every encoder must beat.

  python -m experiments.launch --config=configs/cifar10.py \\
      --workdir=work/cifar10

50,000 rows, 10,000 queries, 32 x 32 pixels normalized by ImageNet's mean and
standard deviation, D = 3,072. Expected accuracy, from an independent float64
computation: 40.5 % at k = 1; at k = 100 plurality 39.7, distance 39.9, softmax
43.1, rank 44.3 %. About a minute on two CPU cores.

The images are read from cifar10.zip (cifar10/{train,test}/CLASS/NAME.jpg)
under the directory that VISUAL_MEMORY_DATA names.
"""

import os

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` evaluates a part of the bundled digits."""
  config = evaluate.get_config(arg)
  config.title = "CIFAR-10, raw pixels"
  if arg == "smoke":
    return config
  root = os.environ.get("VISUAL_MEMORY_DATA", "../shared/data")
  for section, split in ((config.memory, "train"), (config.data, "test")):
    section.source = "folder"
    section.options.path = os.path.join(root, "cifar10.zip")
    section.options.split = split
  return config
