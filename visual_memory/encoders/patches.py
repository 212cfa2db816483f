"""Images as rows of patches."""

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
