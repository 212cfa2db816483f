"""Accuracy of every voter as the memory's labels go wrong, on CIFAR-10.

  python -m experiments.launch --config=configs/label_noise.py \\
      --workdir=work/label_noise

Figure 10 of the visual-memory paper, which draws classes evenly; beside it,
noise towards the next class, and towards the classes really confused. The
tuning rows' labels are as wrong as the memory's. A minute or two on two CPU
cores. Expected: 44.8 % by the softmax vote, 39.4 % with 60 %
of all labels random.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` corrupts a part of the bundled digits."""
  config = cifar10.of("label_noise", arg, title="Wrong labels in the memory")
  config.noise = ml_collections.ConfigDict()
  config.noise.fractions = (
    0.0,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    1.0,
  )
  config.noise.seeds = (0, 1, 2)
  config.noise.keep_possible = True  # A random class may be the true one.
  if arg == "smoke":
    config.voting.ks = (1, 10)
    config.noise.fractions = (0.0, 0.4, 0.8)
    config.noise.seeds = (0, 1)
  return config
