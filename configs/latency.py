"""Latency and storage of a memory of CIFAR-10's pixels.

  python -m experiments.launch --config=configs/latency.py \\
      --workdir=work/latency

Appendix K of the visual-memory paper: queries by batch size, edits of single
rows in memory and in the durable store, and bytes per image. Two minutes on
two CPU cores, and 1.3 GB of disk meanwhile. Numbers depend on the machine; run
nothing beside.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` times a memory of the bundled digits."""
  config = cifar10.get_config(arg)
  config.experiment = "latency"
  config.title = "Latency and storage"
  config.timing = ml_collections.ConfigDict()
  config.timing.batches = ((1, 30), (16, 20), (256, 5), (1024, 3))  # Repeats.
  config.timing.edits = 20
  if arg == "smoke":
    config.timing.batches = ((1, 3), (16, 3))
    config.timing.edits = 3
  return config
