"""Figure 16: accuracy against the size of the encoder.

  python -m experiments.launch --config=configs/paper_procedural/figure16.py \\
      --config.cache_dir=work/cache --workdir=work/figure16

Here on CIFAR-10 and digits, of encoders that a laptop can learn; see
configs/model_scaling.py for transformers of one's own. No numbers are
published: the accuracy of the paper's grows from ViT-Ti over S to B.
"""

import ml_collections

from configs import model_scaling


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `model_scaling`."""
  config = model_scaling.get_config(arg)
  if not arg:
    config.title = "Figure 16: accuracy against the size of the encoder"
  return config
