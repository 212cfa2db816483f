"""Linear probes as a baseline: DINOv2's SGD grid and CLIP's L-BFGS.

  python -m experiments.launch --config=configs/linear_probe.py \\
      --config.cache_dir=work/cache --workdir=work/linear_probe

A vision transformer has 52 probes, DINOv2's; other encoders 13, one for each
learning rate. By default CIFAR-10 by its pixels, where 13 probes of 12,500
steps took three minutes on two busy CPU cores; the search for the strength of
L-BFGS takes longer, and is cut short here (see below). Published for ImageNet
and DINOv2 ViT-L/14: 86.3 % by the probe, 83.6 % by the vote.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` trains probes on a part of the digits."""
  config = cifar10.of("linear_probe", arg, title="Linear probes", compared=True)

  config.probe = regression()
  config.probe.learning_rates = (
    *(1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2),
    0.1,
  )
  config.probe.num_steps = 12_500
  config.probe.batch_size = 128
  if arg == "smoke":
    config.voting.ks = (1, 10)
    config.probe.num_steps = 64
    config.probe.strengths = (1.0, 100.0)
    config.probe.refinements = 1
    config.probe.max_steps = 10
  return config


def regression() -> ml_collections.ConfigDict:
  """The search for the strength of L-BFGS, cut short."""
  section = ml_collections.ConfigDict()
  section.strengths = (1.0, 1e2, 1e4)  # Published: 1e-6 to 1e6.
  section.refinements = 1  # Published: 4.
  section.max_steps = 50  # Published: 1000.
  return section
