"""A short pretraining in a process of its own, so that it can be killed.

python tests/pretraining_process.py DIRECTORY NUM_STEPS [NUM_DEVICES]
"""

import json
import os
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

NUM_STEPS = 8


def make(num_steps=NUM_STEPS, **changes):
  """A tiny recipe and its feed, on images of noise with some structure."""
  import dataclasses

  from configs import pretrain
  from visual_memory.data.array_source import array_source
  from visual_memory.pretraining.feeds import source_feed
  from visual_memory.studies.from_values import from_values
  from visual_memory.studies.pretraining import Settings, make_recipe

  config = pretrain.get_config("smoke")
  config.optimizer.num_steps = num_steps
  config.optimizer.warmup_steps = 2
  config.backbone.drop_path = 0.2
  if num_steps >= 200:
    # Wide enough that images differ before training: a network of 24 channels
    # starts collapsed, and nothing there is to be learned.
    config.backbone.drop_path = 0.0
    config.backbone.pooling = "mean"
    config.backbone.changes.update(dim=96, num_heads=3, mlp_dim=192)
    config.head.update(hidden=256, bottleneck=64)
    config.views.update(
      jitter=0.0, gray=0.0, blur=(0.0, 0.0, 0.0), solarize=0.0,
      global_scale=(0.6, 1.0), local_scale=(0.4, 0.8),
    )  # fmt: skip
    config.teacher.momentum = 0.99
  config.update(changes)
  recipe = make_recipe(from_values(config.to_dict(), Settings))
  assert dataclasses.is_dataclass(recipe)
  random = np.random.default_rng(0)
  coarse = random.integers(0, 256, (64, 4, 4, 3), dtype=np.uint8)
  source = array_source(
    coarse.repeat(4, axis=1).repeat(4, axis=2),
    np.arange(64) // 4,
    ids=[str(i) for i in range(64)],
    class_names=[str(i) for i in range(16)],
    fingerprint="blocks",
  )
  feed = source_feed(
    source, size=16, batch_size=recipe.batch_size, seed=0, group=1
  )
  return recipe, feed


def main(directory, num_steps, num_devices=1):
  """Trains, logging to DIRECTORY/metrics.jsonl; prints the loss last."""
  from visual_memory.distributed import make_mesh
  from visual_memory.pretraining.meter import jsonl_log
  from visual_memory.pretraining.train import train

  recipe, feed = make(num_steps)
  train(
    recipe, feed, directory=directory, mesh=make_mesh(num_devices),
    log=jsonl_log(os.path.join(directory, "metrics.jsonl")), evaluate=None,
    log_every=1, save_every=2, evaluate_every=100,
  )  # fmt: skip
  print(json.dumps({"done": num_steps}))


if __name__ == "__main__":
  main(sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:]))
  jax.clear_caches()
