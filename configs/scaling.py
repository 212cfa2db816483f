"""Error against the size of the memory, on CIFAR-10's pixels.

  python -m experiments.launch --config=configs/scaling.py \\
      --workdir=work/scaling

Figure 3 of the visual-memory paper: nested subsets with as many rows of each
class, three seeds, a power law in log N fitted to all and extrapolated; beside
it a power law in N. The neighbors are exact at every size. Ten minutes on two
CPU cores. Expected: error from 83 % at 10 rows to 55.5 % at 44,904 (softmax).
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` grows a memory of digits."""
  config = cifar10.of(
    "scaling", arg, title="How error falls as the memory grows", compared=True
  )
  config.growth = ml_collections.ConfigDict()
  config.growth.per_class = (
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1000,
    2000,
    5000,
  )
  config.growth.seeds = (0, 1, 2)
  config.growth.far = (1e6, 1e9)  # Sizes to extrapolate to.
  if arg == "smoke":
    config.growth.per_class = (2, 5, 10, 60)
    config.growth.seeds = (0,)
  return config
