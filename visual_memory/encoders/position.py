"""Position embeddings at any resolution, by the rule of each model family.

A table is learned on one square grid of patches. Every family resamples it
bicubically, each in its own way, and the choice moves embeddings visibly:

  'offset'     DINO and DINOv2 without registers. The grid is stretched by
               (n + 0.1) / grid instead of n / grid, with no antialiasing.
  'antialias'  DINOv2 with registers. Keys' kernel, widened when shrinking.
  'plain'      CLIP and Hugging Face's DINOv2 and ViT. Stretched by n / grid,
               with no antialiasing.

Reference: vision_transformer.py of github.com/facebookresearch/dino and
dinov2 (interpolate_pos_encoding); torch.nn.functional.interpolate.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64

from visual_memory.data.resampling import keys_kernel
from visual_memory.types import Array

_TORCH_A = -0.75
"""The free parameter of the cubic kernel in torch, without antialiasing."""
_KEYS_A = -0.5
"""The same in PIL, and in torch with antialiasing."""
_OFFSET = 0.1


def resample(
  table: Float[Array, "G G D"], grid: tuple[int, int], *, rule: str
) -> Float[jax.Array, "h w D"]:
  """The table of position embeddings for a grid of h x w patches, in float32.

  Args:
    table: position embeddings of a square grid of patches.
    grid: (h, w). The table's own grid gives the table itself.
    rule: 'offset', 'antialias' or 'plain'; see the module.

  Raises:
    ValueError: unknown rule.
  """
  table = jnp.asarray(table, jnp.float32)
  side = table.shape[0]
  if grid == (side, side):
    return table
  rows, columns = (
    jnp.asarray(cubic_matrix(side, size, rule=rule), jnp.float32)
    for size in grid
  )
  return jnp.einsum(
    "hg,wk,gkd->hwd", rows, columns, table, precision=jax.lax.Precision.HIGHEST
  )


def cubic_matrix(
  size: int, new_size: int, *, rule: str
) -> Float64[np.ndarray, "n size"]:
  """The [new_size, size] matrix that resamples one axis by a rule."""
  if rule == "antialias":
    return _antialiased(size, new_size)
  if rule == "offset":
    return _interpolating(size, new_size, size / (new_size + _OFFSET))
  if rule == "plain":
    return _interpolating(size, new_size, size / new_size)
  raise ValueError(
    f"Unknown position rule {rule!r}; known: offset, antialias, plain."
  )


def _interpolating(size: int, new_size: int, step: float) -> np.ndarray:
  """Four taps around each sample; beyond the edge the edge value repeats."""
  centers = (np.arange(new_size) + 0.5) * step - 0.5
  first = np.floor(centers).astype(int) - 1
  matrix = np.zeros((new_size, size))
  for tap in range(4):
    weights = keys_kernel(centers - (first + tap), _TORCH_A)
    columns = np.clip(first + tap, 0, size - 1)
    np.add.at(matrix, (np.arange(new_size), columns), weights)
  return matrix


def _antialiased(size: int, new_size: int) -> np.ndarray:
  """A kernel as wide as the shrinking, renormalized at the edges."""
  step = size / new_size
  centers = (np.arange(new_size)[:, None] + 0.5) * step - 0.5
  matrix = keys_kernel((np.arange(size) - centers) / max(step, 1.0), _KEYS_A)
  return matrix / matrix.sum(axis=1, keepdims=True)
