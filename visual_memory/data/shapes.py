"""Small pictures of discs and boxes with masks: for tests and first tries.

source = shapes(num_images=12, size=32, seed=0, split="train")
"""

import dataclasses
import zlib
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int32

from visual_memory import types
from visual_memory.data import image_source

CLASS_NAMES = ("background", "disc", "box")

_COLORS = ((70, 110, 70), (200, 60, 50), (60, 80, 200))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shapes:
  """A disc and a box in each picture. Build one with `shapes`."""

  ids: np.ndarray
  labels: np.ndarray
  size: int
  seed: int
  fingerprint: str
  class_names: tuple[str, ...] = CLASS_NAMES

  def __len__(self) -> int:
    """The number of pictures."""
    return len(self.ids)

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The picture: colors of its classes, with noise."""
    mask, stream = self._drawn(row)
    noise = stream.integers(-30, 31, (*mask.shape, 3))
    image = np.asarray(_COLORS)[mask] + noise
    return types.Example(
      image=np.clip(image, 0, 255).astype(np.uint8),
      label=types.UNLABELED,
      id=self.ids[row],
    )

  def mask(self, row: SupportsIndex) -> Int32[np.ndarray, "H W"]:
    """The class of every pixel; the picture's frame is void."""
    mask, _ = self._drawn(row)
    mask[[0, -1]] = types.UNLABELED
    mask[:, [0, -1]] = types.UNLABELED
    return mask

  def _drawn(self, row: SupportsIndex):
    """The classes of all pixels and the stream that drew them."""
    name = f"{self.seed}/{self.ids[row]}"
    stream = np.random.default_rng(zlib.crc32(name.encode()))
    places = np.arange(self.size)
    y, x = np.meshgrid(places, places, indexing="ij")
    mask = np.zeros((self.size, self.size), np.int32)
    radius = self.size * stream.uniform(0.15, 0.25)
    for label in (2, 1):  # The disc is in front.
      top, left = self.size * stream.uniform(0.25, 0.75, 2)
      if label == 2:
        inside = (abs(y - top) < radius) & (abs(x - left) < radius)
      else:
        inside = np.hypot(y - top, x - left) < radius
      mask[inside] = label
    return mask, stream


def shapes(
  *, num_images: int = 12, size: int = 32, seed: int = 0, split: str = "train"
) -> Shapes:
  """Pictures with masks; those of different splits differ.

  Raises:
    ValueError: no pictures, or a side below 8 pixels.
  """
  if num_images < 1 or size < 8:
    raise ValueError(
      f"num_images={num_images} must be positive and size={size} at least 8."
    )
  return Shapes(
    ids=types.as_ids([f"{split}/{row:06}" for row in range(num_images)]),
    labels=np.full(num_images, types.UNLABELED, np.int32),
    size=size,
    seed=seed,
    fingerprint=image_source.digest("shapes", num_images, size, seed, split),
  )
