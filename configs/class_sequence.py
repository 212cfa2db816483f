"""Lifelong learning as a sequence: CIFAR-10's classes arrive in five steps.

  python -m experiments.launch --config=configs/class_sequence.py \\
      --config.cache_dir=work/cache --workdir=work/class_sequence

Section 3.3 of the visual-memory paper, several times in a row: after every step
all classes so far are asked for, of the memory, of a linear head fitted anew to
all rows so far, and of one that goes on from the new rows alone. Forgetting and
what is right on arrival, with paired differences. Some minutes on two CPU cores
by the encoder that comes with the package.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` teaches a part of the bundled digits."""
  config = cifar10.of(
    "class_sequence", arg, title="Classes that arrive in steps", shipped=True
  )
  config.sequence = ml_collections.ConfigDict()
  config.sequence.steps = 5
  config.sequence.strengths = (1.0, 100.0)  # Of the heads' fits.
  config.sequence.max_steps = 50  # Of L-BFGS, on all rows so far.
  config.sequence.fine_tune_steps = 10  # On the new rows alone.
  if arg == "smoke":
    config.sequence.steps = 3
    config.sequence.strengths = (10.0,)
    config.sequence.max_steps = 20
  return config
