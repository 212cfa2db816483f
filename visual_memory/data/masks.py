"""Masks: the class of every pixel, brought to the geometry of the encoder.

A source with masks is an `ImageSource` with one more method, `mask(row)`: int32
[H, W], a class for every pixel of the image at this position, UNLABELED where
it does not count (void). Its `class_names` name the classes of pixels.
"""

import numpy as np
from jaxtyping import Int32

from visual_memory.data.image_source import ImageSource
from visual_memory.data.preprocess import Preprocess
from visual_memory.types import UNLABELED


def has_masks(source: ImageSource) -> bool:
  """Whether the source knows the class of every pixel."""
  return callable(getattr(source, "mask", None))


def patch_labels(
  mask: Int32[np.ndarray, "H W"],
  *,
  preprocess: Preprocess,
  grid: tuple[int, int],
) -> Int32[np.ndarray, "rows columns"]:
  """The most frequent class in each patch; ties: void, then the lowest.

  A patch most of whose pixels are void is UNLABELED and votes for nothing.
  """
  mask = preprocess.resize_and_crop_mask(mask)
  rows, columns = grid
  patches = mask.reshape(rows, mask.shape[0] // rows, columns, -1)
  patches = patches.swapaxes(1, 2).reshape(rows * columns, -1) - UNLABELED
  classes = int(patches.max()) + 1
  cells = np.arange(rows * columns)[:, None] * classes + patches
  counts = np.bincount(cells.ravel(), minlength=rows * columns * classes)
  labels = np.argmax(counts.reshape(-1, classes), axis=1) + UNLABELED
  return labels.reshape(grid).astype(np.int32)
