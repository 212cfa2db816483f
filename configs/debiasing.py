"""A biased subset of the memory, found and removed, on CIFAR-10.

  python -m experiments.launch --config=configs/debiasing.py \\
      --config.cache_dir=work/cache --workdir=work/debiasing

Appendix P of the visual-memory paper, which names this use and shows no
numbers, made measurable: half of the cats bear a magenta square, and so do half
of the pictures of other classes that are asked about. Some minutes on two CPU
cores by the encoder that comes with the package.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` plants a bias in a part of the bundled digits."""
  config = cifar10.of(
    "debiasing", arg, title="A bias, found and removed", shipped=True
  )
  config.bias = ml_collections.ConfigDict()
  config.bias.label = "cat"  # For which the mark speaks.
  config.bias.fraction = 0.5  # Of its rows bear the mark,
  config.bias.asked = 0.5  # and of the other classes' queries.
  config.bias.k = 10  # Neighbors that count.
  config.bias.thresholds = (1, 2, 3, 5, 8, 13, 21, 34)
  if arg == "smoke":
    config.bias.label = "3"
    config.bias.thresholds = (1, 2, 4)
  return config
