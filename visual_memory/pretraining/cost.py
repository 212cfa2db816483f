"""The arithmetic of a training step, and what share of a device it fills.

Model FLOPs as is usual: two for each multiplication of the products of the
forward pass, twice that again for the backward pass; nothing for
recomputation, normalization or views.
"""

import functools

from visual_memory.encoders.patch_grid import patch_grid
from visual_memory.encoders.settings import ViTConfig
from visual_memory.pretraining.recipe import Recipe

PEAK_FLOPS = {
  # Dense bfloat16, without sparsity, as vendors state them; by the beginning
  # of jax.Device.device_kind.
  "NVIDIA A100": 312e12,
  "NVIDIA H100": 989e12,
  "NVIDIA H200": 989e12,
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5p": 459e12,
  "TPU v6 lite": 918e12,
}


def backbone_flops(
  config: ViTConfig, *, size: int, patch_tokens: bool = True
) -> float:
  """Of one forward pass of one image of size x size pixels.

  Without patch_tokens, the last block has only the class token and registers
  to compute.
  """
  rows, columns = patch_grid((size, size), config.patch_size)
  patches = rows * columns
  tokens = 1 + config.num_registers + patches
  gated = 1.5 if config.ffn == "swiglu" else 1.0
  block = 4 * config.dim**2 + 2 * gated * config.dim * config.mlp_dim
  attention = 2 * tokens * config.dim
  total = config.depth * tokens * (block + attention)
  if not patch_tokens and config.pool == "class":
    keys_and_values = 2 * config.dim**2
    total -= patches * (block + attention - keys_and_values)
  side, channels = size, 3
  for width in config.stem:
    side //= 2
    total += side * side * 9 * channels * width
    channels = width
  patch = config.patch_size >> len(config.stem)
  total += patches * channels * patch**2 * config.dim
  return 2.0 * total


def head_flops(recipe: Recipe) -> float:
  """Of one forward pass of one view's embedding."""
  head = recipe.head
  dim = recipe.backbone.embedding_dim
  total = dim * head.hidden + head.hidden**2 + head.hidden * head.bottleneck
  if recipe.objective == "dino":
    total += head.bottleneck * head.prototypes
  return 2.0 * total


def step_flops(recipe: Recipe) -> float:
  """Of one training step over the whole batch."""
  views = recipe.views
  head = head_flops(recipe)
  backbone = functools.partial(
    backbone_flops, recipe.backbone, patch_tokens=recipe.pooling != "class"
  )
  wide = 2 * (backbone(size=views.global_size) + head)
  near = views.num_local * head
  if views.num_local:
    near += views.num_local * backbone(size=views.local_size)
  teacher = wide if recipe.objective == "dino" else 0.0
  return recipe.batch_size * (3 * (wide + near) + teacher)


def utilization(
  flops_per_s: float, *, device_kind: str, num_devices: int
) -> float | None:
  """The share of the devices' peak, or None where the peak is not known."""
  for kind, peak in PEAK_FLOPS.items():
    if device_kind.startswith(kind):
      return flops_per_s / (peak * num_devices)
  return None


def hours(
  recipe: Recipe, *, device_kind: str, num_devices: int, share: float
) -> float:
  """How long a run takes on devices whose peak is known.

  Args:
    recipe: of the run.
    device_kind: a beginning of `jax.Device.device_kind`; a key of PEAK_FLOPS.
    num_devices: how many.
    share: of their peak that is used (mfu in the log of a run).
  """
  total = step_flops(recipe) * recipe.optimizer.num_steps
  return total / (PEAK_FLOPS[device_kind] * num_devices * share) / 3600
