"""Images as rows of patches."""

import dataclasses
from typing import Any

import jax
from jaxtyping import Float

from visual_memory.types import Array


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
