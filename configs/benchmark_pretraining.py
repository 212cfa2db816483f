"""A step of DINO against a plain step of torch, on CPU devices.

  python -m experiments.benchmarks.pretraining \\
      --config=configs/benchmark_pretraining.py[:stem] --workdir=DIR

`stem` is the network of configs/pretrain.py:cpu, convolutions before six blocks
at 32 pixels; without it, ViT-Ti at 64 pixels. About three minutes on two CPU
cores; torch must be installed, or left out with --config.peers. Expected: see
experiments/results.
"""

import ml_collections

from configs import evaluate, pretrain


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is one round of a tiny network, without torch."""
  smoke = evaluate.is_smoke(arg, "stem")
  config = ml_collections.ConfigDict()
  config.recipe = pretrain.get_config("smoke" if smoke else "cpu")
  config.recipe.objective = "dino"
  config.num_rounds = 1 if smoke else 7
  config.threads = 2
  config.peers = ("visual_memory", "visual_memory_2_devices", "torch")
  if smoke:
    config.peers = ("visual_memory",)
    return config
  config.recipe.views.num_local = 4
  if arg == "stem":
    config.recipe.batch_size = 64
    return config
  # The published shapes in small: stride 8 of 64 pixels, two sizes of view.
  config.recipe.batch_size = 32
  config.recipe.backbone.image_size = 64
  config.recipe.backbone.changes = ml_collections.ConfigDict()
  config.recipe.backbone.pooling = "class"
  config.recipe.views.global_size = 64
  config.recipe.views.local_size = 32
  config.recipe.views.blur = (1.0, 0.1, 0.5)
  config.recipe.views.solarize = 0.2
  config.recipe.data.size = 96
  return config
