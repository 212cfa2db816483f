"""What single neighbors and votes are worth, on CIFAR-10's pixels.

  python -m experiments.launch --config=configs/reliability.py \\
      --workdir=work/reliability

Reliability of the i-th neighbor with its logarithmic fit (figures 1 and 13 of
the visual-memory paper), hit rate (11), calibration (15, and ECE, Brier, NLL
for every voter) and abstention. Two minutes on two CPU cores. Expected:
reliability 40.5 % at i = 1, about 23 % at i = 100; hit rate 99.0 % at k = 100.
"""

import ml_collections

from configs import cifar10, linear_probe


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` looks at a part of the bundled digits."""
  config = cifar10.of(
    "reliability",
    arg,
    title="Reliability of neighbors and votes",
    compared=True,
  )
  config.num_bins = 15
  config.promises = (0.6, 0.7, 0.8, 0.9)  # Accuracies to reach by declining.
  # The linear probe beside the votes; no strengths: none.
  config.probe = linear_probe.regression()
  if arg == "smoke":
    config.probe.strengths, config.probe.max_steps = (1.0, 100.0), 10
    config.voting.ks = (1, 5, 20)
  return config
