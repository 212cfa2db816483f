"""Why an answer was given: the explorer, and rows with suspicious labels.

  python -m experiments.launch --config=configs/attribution.py \\
      --config.cache_dir=work/cache --workdir=work/attribution

Figures 5, 6 and 16 of the visual-memory paper as one page, explorer.html, on
which rows can be removed and relabeled. By default CIFAR-10 by its pixels; half
a minute on two CPU cores once the cache has the neighbors of all rows (ten
minutes). Measured: of the first 100 rows looked at, 34 are planted errors, of
the first 500, 182; chance is 5 %. experiments/results/attribution.json.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` explores a part of the bundled digits."""
  config = cifar10.of("attribution", arg, title="Attribution")
  config.voting.ks = (1, 2, 3, 5, 10, 20)

  config.attribution = ml_collections.ConfigDict()
  config.attribution.retrieved = 36  # Those beyond k refill after edits.
  config.attribution.right = 12
  config.attribution.wrong = 24
  config.attribution.suspects = 24
  config.attribution.reliability_k = 10  # Neighbors that count; as published.
  config.attribution.hard_fraction = 0.02  # Of rows to drop, at first.
  config.attribution.planted_fraction = 0.05
  config.attribution.looked_at = (100, 500)

  if arg == "smoke":
    config.voting.ks = (1, 5)
    config.attribution.retrieved = 12
    config.attribution.right = config.attribution.wrong = 2
    config.attribution.suspects = 2
    config.attribution.reliability_k = 5
    config.attribution.looked_at = (10,)
  return config
