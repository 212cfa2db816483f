"""Dual memories without text, on CIFAR: do they add to a visual memory?

  python -m experiments.launch --config=configs/image_memories.py \\
      --workdir=work/image_memories_cifar10 [--config.adaptation.base=memory]
  python -m experiments.launch --config=configs/image_memories.py:cifar100 \\
      --workdir=work/image_memories_cifar100

The base is the vote of a visual memory: of the 1, 2, 4, 8 or 16 shots of each
class alone (base=shots), or of all rows (base=memory). A static memory of the
shots and a dynamic memory of the test images that went by are added to it.
Five seeds; sharpness, temperature and weights are chosen on held-out shots (on
the memory's tuning rows if that is the base). On two CPU cores five minutes
for CIFAR-10's raw pixels, twenty for CIFAR-100's. Measured:
experiments/results/image_memories.json.

The images are read from cifar10.zip or cifar100_half.zip under the directory
that VISUAL_MEMORY_DATA names.
"""

import os

import ml_collections

from configs import dual_memory

_FILES = {"cifar10": "cifar10.zip", "cifar100": "cifar100_half.zip"}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """CIFAR-10, or the form `cifar100`; `smoke` is the bundled digits."""
  name = arg or "cifar10"
  if name != "smoke" and name not in _FILES:
    raise ValueError(
      f"There is no form {arg!r}; there are smoke, {', '.join(_FILES)}."
    )
  config = dual_memory.get_config("smoke")
  config.title = f"Dual memories without text, {name}"
  config.adaptation.variants = ("training_free",)
  config.adaptation.num_views = 1
  if name == "smoke":
    config.num_shots = (2,)
    config.adaptation.base = "memory"
    return config
  root = os.environ.get("VISUAL_MEMORY_DATA", "../shared/data")
  for section, split in ((config.memory, "train"), (config.data, "test")):
    section.source = "folder"
    section.options.path = os.path.join(root, _FILES[name])
    section.options.split = split
  config.encoder.options = ml_collections.ConfigDict()
  config.num_shots = (1, 2, 4, 8, 16)
  config.seeds = (0, 1, 2, 3, 4)
  config.adaptation.num_slots = 50
  config.adaptation.sharpness = (5.5, 20.0, 60.0)
  config.adaptation.inverse_temperature = (100.0, 30.0, 10.0)
  return config
