"""A baseline without learning: bags of SIFT words.

  python -m experiments.launch --config=configs/sift.py --workdir=work/sift

By default 10,000 rows and 2,000 queries of CIFAR-10, whose pictures are small
for SIFT; a few minutes on two CPU cores. Published on ImageNet: 3.08 % (an SVM
of 150 words; procedural-data paper, Table 1).
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` counts words of a few scanned digits."""
  config = cifar10.of("sift", arg, title="Bags of SIFT words")
  del config.encoder
  config.memory.sample, config.data.sample = 10_000, 2_000
  config.sift = ml_collections.ConfigDict()
  config.sift.num_words = 150
  config.sift.num_features = 35  # Of each picture.
  if arg == "smoke":
    config.memory.sample, config.data.sample = 200, 50
    config.sift.num_words = 10
  return config
