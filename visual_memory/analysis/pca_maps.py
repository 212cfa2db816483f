"""What three principal components of a picture's features know of its objects.

  maps = pca_maps(features, size=112)              # [B, 112, 112, 3] in [0, 1]
  r2 = explained_by_classes(maps[0], mask)         # 1 - within / total

Reference: procedural-data paper, Table 2 and Figs. 9, 12. There the total is
taken around one mean of all channels together, which counts the distance
between the channels' means as explained: `as_published` is that, and always at
least as large where the clusters are the same.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int
from PIL import Image

from visual_memory.data.image_source import ImageSource
from visual_memory.types import UNLABELED, Array


@functools.partial(jax.jit, static_argnames="size")
def pca_maps(
  features: Float[Array, "B h w D"], *, size: int
) -> Float32[jax.Array, "B size size 3"]:
  """The three strongest components of each picture, each scaled to [0, 1].

  Features are first enlarged to size x size (bilinear, half-pixel centers) and
  every pixel counts. The sign of a component makes its largest entry (by
  absolute value) positive, as scikit-learn's does.
  """
  return jax.lax.map(lambda picture: _pca_map(picture, size), features)


def _pca_map(features: jax.Array, size: int) -> jax.Array:
  """The components of one picture, [h, w, D] -> [size, size, 3]."""
  dim = features.shape[-1]
  features = jax.image.resize(features, (size, size, dim), "bilinear")
  rows = features.reshape(-1, dim)
  rows = rows - jnp.mean(rows, axis=0, keepdims=True)
  highest = jax.lax.Precision.HIGHEST
  covariance = jnp.matmul(rows.T, rows, precision=highest)
  _, vectors = jnp.linalg.eigh(covariance)
  vectors = vectors[:, -3:][:, ::-1]
  largest = jnp.argmax(jnp.abs(vectors), axis=0)
  signs = jnp.sign(jnp.take_along_axis(vectors, largest[None], axis=0))
  maps = jnp.matmul(rows, vectors * signs, precision=highest)
  low = jnp.min(maps, axis=0, keepdims=True)
  high = jnp.max(maps, axis=0, keepdims=True)
  maps = (maps - low) / jnp.where(high > low, high - low, 1)
  return maps.reshape(size, size, -1)


def rgb_maps(
  source: ImageSource, *, size: int
) -> Iterator[tuple[Float32[np.ndarray, "h w 3"], Int[np.ndarray, "h w"]]]:
  """Each picture's own colors in [0, 1] and its mask: the baseline."""
  for row in range(len(source)):
    image = Image.fromarray(source[row].image)
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    mask = resized_mask(source.mask(row), size=size)
    yield np.asarray(image, np.float32) / 255, mask


def resized_mask(
  mask: Int[np.ndarray, "H W"], *, size: int
) -> Int[np.ndarray, "size size"]:
  """The mask squeezed to size x size, the nearest pixel's class."""
  resized = Image.fromarray(mask.astype(np.int32)).resize(
    (size, size), Image.Resampling.NEAREST
  )
  return np.asarray(resized)


def explained_by_classes(
  maps: Float[np.ndarray, "h w C"],
  mask: Int[np.ndarray, "h w"],
  *,
  as_published: bool = False,
) -> float:
  """The share of the variance of a map that its classes explain: R squared.

  1 - sum of squares around the class means / sum of squares around the mean,
  over the pixels that count. NaN where none does, or where all are equal.

  Args:
    maps: features of each pixel.
    mask: classes; UNLABELED does not count.
    as_published: around one mean of all channels together; and a picture
      without UNLABELED pixels loses its lowest class to the background.
  """
  counted = mask != UNLABELED
  if as_published and counted.any() and counted.all():
    counted = mask != mask.min()
  pixels = maps[counted].astype(np.float64)
  if not len(pixels):
    return float("nan")
  _, classes = np.unique(mask[counted], return_inverse=True)
  sizes = np.bincount(classes)
  sums = np.stack(
    [np.bincount(classes, weights=channel) for channel in pixels.T], axis=1
  )
  squares = np.square(pixels).sum()
  within = squares - (np.square(sums) / sizes[:, None]).sum()
  center = pixels.mean() if as_published else pixels.mean(axis=0)
  total = np.square(pixels - center).sum()
  return float(1 - max(within, 0.0) / total) if total > 0 else float("nan")
