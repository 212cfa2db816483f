"""Images as patches, and where each patch is.

A table of positions is learned on one square grid of patches. Every family
resamples it bicubically, each in its own way, and the choice moves embeddings
visibly:

  'offset'     DINO and DINOv2 without registers. The grid is stretched by
               (n + 0.1) / grid instead of n / grid, with no antialiasing.
  'antialias'  DINOv2 with registers. Keys' kernel, widened when shrinking.
  'plain'      CLIP and Hugging Face's DINOv2 and ViT. Stretched by n / grid,
               with no antialiasing.

Reference: vision_transformer.py of github.com/facebookresearch/dino and
dinov2 (interpolate_pos_encoding); torch.nn.functional.interpolate.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Float64

from visual_memory.data.resampling import keys_kernel
from visual_memory.types import Array

_TORCH_A = -0.75
"""The free parameter of the cubic kernel in torch, without antialiasing."""
_KEYS_A = -0.5
"""The same in PIL, and in torch with antialiasing."""
_OFFSET = 0.1


def patchify(
  pixels: Float[Array, "B H W C"], patch_size: int
) -> Float[jax.Array, "B P values"]:
  """Each patch as one row of patch_size * patch_size * C values."""
  batch, height, width, channels = pixels.shape
  rows, columns = height // patch_size, width // patch_size
  pixels = pixels.reshape(
    batch, rows, patch_size, columns, patch_size, channels
  )
  return pixels.swapaxes(2, 3).reshape(batch, rows * columns, -1)


def patch_grid(size: tuple[int, int], patch_size: int) -> tuple[int, int]:
  """Rows and columns of patches of an image of (height, width) pixels.

  Raises:
    ValueError: the sides are not whole patches.
  """
  height, width = size
  if height % patch_size or width % patch_size or not height or not width:
    raise ValueError(
      f"An image of {height}x{width} pixels is not a whole number of patches"
      f" of {patch_size} pixels: resize or crop it to multiples."
    )
  return height // patch_size, width // patch_size


@dataclasses.dataclass(frozen=True)
class PixelPatches:
  """The pixels of each square patch: the baseline without an encoder."""

  patch: int

  def __call__(self, params: Any, pixels: Float[Array, "B S S 3"]) -> jax.Array:
    """Patches row by row, [B, P, 3 * patch * patch]; there are no params."""
    del params
    return patchify(pixels, self.patch)


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


def rotations(
  grid: tuple[int, int], *, head_dim: int, num_first: int
) -> Float32[np.ndarray, "2 T d"]:
  """Cosines and sines by which DINOv3 turns queries and keys of each token.

  A quarter of the pairs of a head turns with the row, by 2 pi times a
  coordinate in (-1, 1), with periods from 1 to 100; a quarter with the column;
  and so again. Each axis is measured by its own length. Class token and
  registers are not turned.

  Args:
    grid: (rows, columns) of patches.
    head_dim: d.
    num_first: tokens before the patches.

  Reference: Simeoni et al., "DINOv3" (2025); periods in full precision, as in
  Hugging Face transformers (the released .pth rounds them to bfloat16).
  """
  period = 100.0 ** (4 * np.arange(head_dim // 4) / head_dim)
  axes = [2 * (np.arange(n) + 0.5) / n - 1 for n in grid]
  places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)  # [h, w, 2]
  angles = 2 * np.pi * places[..., None] / period  # [h, w, 2, d / 4]
  angles = np.tile(angles.reshape(-1, head_dim // 2), 2)
  angles = np.concatenate([np.zeros((num_first, head_dim)), angles])
  return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


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
