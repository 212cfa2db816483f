"""What a memory costs beside a linear probe of the same embeddings.

  python -m experiments.launch --config=configs/cost.py \\
      --config.cache_dir=work/cache --workdir=work/cost

To learn, to ask, to keep, to add and to remove a class. CIFAR-10 by the encoder
that comes with the package; two minutes on two quiet CPU cores once embedded.
Published (procedural-data paper, section on cost, ImageNet): training 64 times
as long, inference half as long as the memory's.
"""

import ml_collections

from configs import cifar10


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` times digits."""
  config = cifar10.of(
    "cost", arg, title="Cost of a memory and of a linear probe", shipped=True
  )
  config.voting.voter, config.voting.k = "softmax", 20  # By tuning rows.
  config.voting.ks = (20,)
  config.probe = ml_collections.ConfigDict()
  config.probe.strength = 1.0  # Of L-BFGS.
  config.probe.max_steps = 200
  config.timing = ml_collections.ConfigDict()
  config.timing.batches = ((1, 20), (256, 5))  # (queries of a call, calls).
  config.timing.repeats = 3  # Of everything else.
  config.timing.num_embedded = 2000  # Images that time the encoder.
  if arg == "smoke":
    config.voting.k, config.voting.ks = 3, (3,)
    config.probe.max_steps = 5
    config.timing.batches = ((1, 2), (4, 2))
    config.timing.repeats = 1
    config.timing.num_embedded = 8
  return config
