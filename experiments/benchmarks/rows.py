"""Rows and queries to time search on."""

import os

import numpy as np

from visual_memory.data.sources import open_source
from visual_memory.data.synthetic import synthetic_embeddings

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)
_SHIFTS = (0, 2, -2, 3, -3, 4, -4, 1, -1, 5, -5, 6, -6, 7)


def cifar10(
  *, num_rows: int, dim: int, num_queries: int
) -> tuple[np.ndarray, np.ndarray]:
  """CIFAR-10 pixels under a random projection; full of near-duplicates.

  The rows are the training images, then shifted and mirrored copies of them,
  no two alike up to 1,400,000 rows; the queries are test images.
  """
  projection = np.random.default_rng(0).standard_normal((3072, dim))
  projection = projection.astype(np.float32)
  images = _images("train")
  rows = np.empty((num_rows, dim), np.float32)
  for copy, start in enumerate(range(0, num_rows, len(images))):
    part = images[: num_rows - start]
    shift = _SHIFTS[copy // 2 % len(_SHIFTS)]
    part = np.roll(part, shift, axis=1 + copy // 2 % 2)
    part = part[:, :, ::-1] if copy % 2 else part
    rows[start : start + len(part)] = _project(part, projection)
  return rows, _project(_images("test")[:num_queries], projection)


def blends(
  *, num_rows: int, dim: int, num_queries: int
) -> tuple[np.ndarray, np.ndarray]:
  """CIFAR-10 pixels, two images over each other: no two rows alike.

  Row i blends training image i (modulo 50,000) with another; no two rows blend
  the same two. The queries blend test images.
  """
  projection = np.random.default_rng(0).standard_normal((3072, dim))
  projection = projection.astype(np.float32)
  projected = _pixels(_images("train")) @ projection
  rows = np.empty((num_rows, dim), np.float32)
  for copy, start in enumerate(range(0, num_rows, len(projected))):
    count = min(len(projected), num_rows - start)
    other = np.roll(projected, 1 + 617 * copy, axis=0)
    rows[start : start + count] = _unit(projected + other)[:count]
  asked = _pixels(_images("test")) @ projection
  return rows, _unit(asked + np.roll(asked, 1, axis=0))[:num_queries]


def clustered(
  *, num_rows: int, dim: int, num_queries: int
) -> tuple[np.ndarray, np.ndarray]:
  """Synthetic rows around 1,000 centers."""
  sizes = dict(dim=dim, num_classes=1000, seed=0)
  rows = synthetic_embeddings(num_rows=num_rows, **sizes)
  queries = synthetic_embeddings(num_rows=num_queries, split="test", **sizes)
  return rows.embeddings, queries.embeddings


ROWS = {"blends": blends, "cifar10": cifar10, "clustered": clustered}


def _images(split: str) -> np.ndarray:
  """uint8 [N, 32, 32, 3] from cifar10.zip under VISUAL_MEMORY_DATA."""
  root = os.environ.get("VISUAL_MEMORY_DATA", "../shared/data")
  source = open_source(
    "folder", path=os.path.join(root, "cifar10.zip"), split=split
  )
  return np.stack([source[i].image for i in range(len(source))])


def _pixels(images: np.ndarray) -> np.ndarray:
  """Normalized pixels, [N, 3072]."""
  pixels = (images / np.float32(255) - _MEAN) / _STD
  return pixels.reshape(len(images), -1)


def _project(images: np.ndarray, projection: np.ndarray) -> np.ndarray:
  """Normalized pixels times the projection, as unit rows."""
  return _unit(_pixels(images) @ projection)


def _unit(rows: np.ndarray) -> np.ndarray:
  """Rows divided by their lengths."""
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)
