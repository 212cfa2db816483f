"""Privacy: how many rows can be told from the answers, at which accuracy.

  python -m experiments.launch --config=configs/privacy.py \\
      --config.cache_dir=work/cache --workdir=work/privacy

By default CIFAR-10 by its pixels; `--config.memory`, `--config.data` and
`--config.encoder` name anything else. A minute on two CPU cores once the
neighbors are in the cache. Published (ImageNet, softmax at k = 20): at most
0.6 % of the rows for procedural encoders, growing with accuracy; that counts
only rows whose removal would correct an answer ("harmful" here).
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` looks at a part of the bundled digits."""
  config = cifar10.of("privacy", arg, title="Privacy", compared=True)
  if arg == "smoke":
    config.voting.ks = (1, 5)
  else:
    config.voting.ks = (1, 2, 5, 10, 20, 50, 100)
  return config
