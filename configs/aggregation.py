"""All voters at all k, and their hyper-parameters, on CIFAR-10.

  python -m experiments.launch --config=configs/aggregation.py \\
      --workdir=work/aggregation

Tables 4 to 9 and figures 2, 7, 8 and 9 of the visual-memory paper, in one page
for all encoders of `config.encoders`. With one of your own beside:

      --config.encoders.own.name=dinov2_vits14 \\
      --config.encoders.own.weights=FILE

k and hyper-parameters are chosen on tuning rows of the memory and scored once;
the best on the test queries, as published, stands beside. About four minutes
on two CPU cores. Expected: 45.1 % by the softmax vote on pixels.
"""

import ml_collections

from configs import cifar10, evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` compares the voters on a part of the digits."""
  config = cifar10.of("aggregation", arg, title="Voters compared")
  config.voting.ks = tuple(range(1, 101))

  config.encoders = ml_collections.ConfigDict()
  options = config.encoder.options.to_dict()
  config.encoders.pixels = evaluate.encoder("pixels", **options)
  config.encoders.pixels_8 = evaluate.encoder("pixels")
  config.encoders.pixels_8.options.size = 8  # Averaged down to 8 x 8 pixels.
  config.encoders.own = evaluate.encoder("")  # None.
  del config.encoder

  config.sweeps = ml_collections.ConfigDict()  # The published values.
  config.sweeps.rank = (1.0, 1.5, *map(float, range(2, 21)))
  config.sweeps.distance = tuple(2.5 * step for step in range(17))
  config.sweeps.softmax = (
    *(0.005, 0.01, 0.025, 0.05, 0.07, 0.09, 0.12, 0.15, 0.2, 0.3, 0.4, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 1.0),
  )
  if arg == "smoke":
    config.title = "Voters compared on digits"
    config.voting.ks = tuple(range(1, 21))
    config.encoders.pixels_8.options.size = 4
    config.sweeps.rank = (1.0, 2.0)
    config.sweeps.distance = (0.0, 20.0)
    config.sweeps.softmax = (0.05, 0.2)
  return config
