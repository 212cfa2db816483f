"""Forgetting on CIFAR-10: one row, one row in a hundred, one class.

  python -m experiments.launch --config=configs/unlearning.py \\
      --workdir=work/unlearning

Section 3.4 of the visual-memory paper: time, utility and forgetting of each
removal, from the device and from a store on disk, with the store's receipt.
Forgetting is complete when every neighbor of every test query is, to the last
bit, that of a memory that never held the rows. Three minutes on two CPU cores.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` removes some of the bundled digits."""
  config = cifar10.of("unlearning", arg, title="Unlearning by removal")
  config.removals = ml_collections.ConfigDict()
  config.removals.fraction = 0.01
  config.removals.label = "ship"
  if arg == "smoke":
    config.removals.label = "7"
  return config
