"""Latency and storage of a memory of CIFAR-10's pixels.

  python -m experiments.launch --config=configs/latency.py \\
      --workdir=work/latency

Appendix K and table 10 of the visual-memory paper: queries by batch size (by
ScaNN too, where it is installed), edits of single rows in memory and in the
durable store, seconds to embed an image, and bytes per image, for each encoder.
Two minutes on two CPU cores, and 1.3 GB of disk meanwhile. Numbers depend on
the machine; run nothing beside.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` times a memory of the bundled digits."""
  config = cifar10.of(
    "latency", arg, title="Latency and storage", compared=True
  )
  config.timing = ml_collections.ConfigDict()
  config.timing.batches = ((1, 30), (16, 20), (256, 5), (1024, 3))  # Repeats.
  config.timing.edits = 20
  config.timing.images = 512  # Embedded at once, to time the encoder.
  if arg == "smoke":
    config.timing.batches = ((1, 3), (16, 3))
    config.timing.edits = 3
    config.timing.images = 32
  return config
