"""Data of any size from a seed: clustered embeddings and small pictures.

memory = synthetic_embeddings(num_rows=10_000, dim=64, num_classes=10,
                              seed=0, split="memory")
source = synthetic(num_images=100, num_classes=4, size=32, seed=0)
masked = shapes(num_images=12, size=32, seed=0, split="train")
endless = procedural(num_programs=100, num_views=10, size=64, seed=0)
"""

import dataclasses
import zlib
from typing import SupportsIndex

import jax
import numpy as np
from jaxtyping import Float32, Int, Int32

from visual_memory import types
from visual_memory.data import image_source
from visual_memory.procedural import programs
from visual_memory.procedural import source as pictures

BLOCK_ROWS = 16_384
"""Rows drawn from one random stream; bounds the float64 scratch."""


def synthetic_embeddings(
  *,
  num_rows: int,
  dim: int,
  num_classes: int,
  seed: int,
  split: str = "memory",
  spread: float = 0.7,
) -> types.EmbeddedSet:
  """Unit embeddings in num_classes clusters on the sphere.

  A row is (center + spread * noise) / length, with center and noise of
  expected length one; labels go round the classes. The first rows of a longer
  set are those of a shorter one.

  Args:
    num_rows: N.
    dim: D.
    num_classes: C.
    seed: fixes the centers and every row.
    split: sets of different splits share the centers and no row.
    spread: noise against center; 0 puts every row on its center.

  Raises:
    ValueError: a size below one, or a negative spread.
  """
  if min(num_rows, dim, num_classes) < 1 or spread < 0:
    raise ValueError(
      "num_rows, dim and num_classes must be positive and spread must not be"
      f" negative; got {num_rows}, {dim}, {num_classes} and {spread}."
    )
  centers = _unit(_stream(seed, "centers").standard_normal((num_classes, dim)))
  labels = np.arange(num_rows, dtype=np.int32) % num_classes
  embeddings = np.empty((num_rows, dim), np.float32)
  for first in range(0, num_rows, BLOCK_ROWS):
    rows = slice(first, min(first + BLOCK_ROWS, num_rows))
    noise = _stream(seed, split, first).standard_normal((BLOCK_ROWS, dim))
    noise = noise[: rows.stop - first] / np.sqrt(dim)
    embeddings[rows] = _unit(centers[labels[rows]] + spread * noise)
  return types.embedded_set(
    embeddings,
    labels,
    [f"{split}/{row}" for row in range(num_rows)],
    class_names=[f"class_{label}" for label in range(num_classes)],
    fingerprint="synthetic-"
    + image_source.digest(dim, num_classes, seed, spread),
  )


def _stream(seed: int, name: str, step: int = 0) -> np.random.Generator:
  """An independent random stream for each name and step."""
  return np.random.default_rng([seed, zlib.crc32(name.encode()), step])


def _unit(rows: np.ndarray) -> Float32[np.ndarray, "N D"]:
  """Rows divided by their lengths."""
  lengths = np.linalg.norm(rows, axis=1, keepdims=True)
  return (rows / lengths).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class SyntheticSource(image_source.Described):
  """Striped pictures, drawn when asked for. Build one with `synthetic`.

  Attributes:
    labels: int32 [N].
    ids: [N].
    class_names: one for each angle of the stripes.
    size: the side of each picture in pixels.
    seed: fixes every picture.
    fingerprint: hash of the options.
  """

  labels: Int[np.ndarray, "N"]
  ids: np.ndarray
  class_names: tuple[str, ...]
  size: int
  seed: int
  fingerprint: str

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """Stripes at the class's angle, with a random phase, color and noise."""
    label, id = int(self.labels[row]), self.ids[row]
    rng = _stream(self.seed, id)
    angle = np.pi * label / len(self.class_names)
    y, x = np.mgrid[: self.size, : self.size] / self.size
    wave = np.sin(
      4 * np.pi * (x * np.cos(angle) + y * np.sin(angle))
      + rng.uniform(0, 2 * np.pi)
    )
    pixels = 128 + 90 * wave[:, :, None] * rng.uniform(0.5, 1, 3)
    pixels += rng.normal(0, 12, pixels.shape)
    image = pixels.clip(0, 255).astype(np.uint8)
    return types.Example(image=image, label=label, id=id)


def synthetic(
  *, num_images: int, num_classes: int, size: int, seed: int
) -> SyntheticSource:
  """Striped pictures whose angle is their class; labels go round the classes.

  Raises:
    ValueError: a size below one.
  """
  if min(num_images, num_classes, size) < 1:
    raise ValueError(
      "num_images, num_classes and size must be positive; got"
      f" {num_images}, {num_classes} and {size}."
    )
  ids = [f"synthetic/{seed}/{row}" for row in range(num_images)]
  return SyntheticSource(
    labels=np.arange(num_images, dtype=np.int32) % num_classes,
    ids=types.as_ids(ids),
    class_names=tuple(f"angle_{label}" for label in range(num_classes)),
    size=size,
    seed=seed,
    fingerprint=image_source.digest(
      "synthetic", num_images, num_classes, size, seed
    ),
  )


SHAPES = ("background", "disc", "box")

_SHAPE_COLORS = ((70, 110, 70), (200, 60, 50), (60, 80, 200))


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Shapes(image_source.Described):
  """A disc and a box in each picture. Build one with `shapes`."""

  ids: np.ndarray
  labels: np.ndarray
  size: int
  seed: int
  fingerprint: str
  class_names: tuple[str, ...] = SHAPES

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The picture: colors of its classes, with noise."""
    mask, stream = self._drawn(row)
    noise = stream.integers(-30, 31, (*mask.shape, 3))
    image = np.asarray(_SHAPE_COLORS)[mask] + noise
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


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class ProceduralSource(image_source.Described):
  """Pictures rendered when asked for. Build one with `procedural`.

  Attributes:
    labels: int32 [N]; the program id.
    ids: [N].
    class_names: one for each program.
    num_views: pictures of each program.
    size: the side of each picture in pixels.
    seed: fixes every program and view.
    family: see procedural.source.FAMILIES.
    fingerprint: hash of the options and the grammar's version.
  """

  labels: Int[np.ndarray, "N"]
  ids: np.ndarray
  class_names: tuple[str, ...]
  num_views: int
  size: int
  seed: int
  family: str
  fingerprint: str

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """One program from one view."""
    label, id = int(self.labels[row]), self.ids[row]
    view = int(id.rsplit("/", 1)[1])
    key = jax.random.key(self.seed, impl="threefry2x32")
    image = pictures.sample_images(
      jax.random.fold_in(key, view),
      np.array([label], np.int32),
      size=self.size,
      seed=self.seed,
      family=self.family,
    )[0]
    return types.Example(image=np.asarray(image), label=label, id=id)


def procedural(
  *,
  num_programs: int,
  num_views: int,
  size: int,
  seed: int,
  family: str = "shaders",
) -> ProceduralSource:
  """num_views pictures of each of the first num_programs programs of a seed.

  Raises:
    ValueError: a number or a size below one, or no such family.
  """
  if family not in pictures.FAMILIES:
    raise ValueError(
      f"There is no family of pictures {family!r}; there are:"
      f" {', '.join(pictures.FAMILIES)}."
    )
  if min(num_programs, num_views, size) < 1:
    raise ValueError(
      "num_programs, num_views and size must be positive; got"
      f" {num_programs}, {num_views} and {size}."
    )
  rows = range(num_programs * num_views)
  ids = [
    f"procedural/{seed}/{row // num_views}/{row % num_views}" for row in rows
  ]
  return ProceduralSource(
    labels=(np.arange(len(rows)) // num_views).astype(np.int32),
    ids=types.as_ids(ids),
    class_names=tuple(f"program_{i}" for i in range(num_programs)),
    num_views=num_views,
    size=size,
    seed=seed,
    family=family,
    fingerprint=image_source.digest(
      "procedural",
      programs.GRAMMAR_VERSION,
      num_programs,
      num_views,
      size,
      seed,
      family,
    ),
  )
