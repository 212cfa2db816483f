"""What three principal components of a picture's features know of its objects.

  maps = pca_maps(features, size=112)              # [B, 112, 112, 3] in [0, 1]
  r2 = explained_by_classes(maps[0], mask)         # 1 - within / total

Reference: procedural-data paper, Table 2 and Figs. 9, 12. There the total is
taken around one mean of all channels together, which counts the distance
between the channels' means as explained: `as_published` is that, and always at
least as large where the clusters are the same.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

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


def resized_picture(
  image: UInt8[np.ndarray, "H W 3"], *, size: int
) -> Float32[np.ndarray, "size size 3"]:
  """The picture squeezed to size x size (bilinear), in [0, 1]."""
  resized = Image.fromarray(image).resize(
    (size, size), Image.Resampling.BILINEAR
  )
  return np.asarray(resized, np.float32) / 255


def brightness(
  picture: Float32[np.ndarray, "h w 3"],
) -> Float32[np.ndarray, "h w 1"]:
  """The mean of the three colors."""
  return picture.mean(axis=2, keepdims=True)


VIEWS = {
  "RGB of the picture": lambda picture: picture,
  "its brightness": brightness,
  "its color without brightness": lambda p: p - brightness(p),
}
"""Maps of a picture that are no features: what is known without an encoder."""


def brightness_in(
  maps: Float[np.ndarray, "h w C"], picture: Float[np.ndarray, "h w 3"]
) -> float:
  """How much of a picture's brightness is a linear function of its maps.

  R squared of least squares over all pixels; NaN for a picture of one
  brightness.
  """
  target = brightness(picture).reshape(-1).astype(np.float64)
  target = target - target.mean()
  total = np.square(target).sum()
  if not total:
    return float("nan")
  rows = maps.reshape(len(target), -1).astype(np.float64)
  rows = rows - rows.mean(axis=0)
  fitted = rows @ np.linalg.lstsq(rows, target, rcond=None)[0]
  return float(1 - np.square(target - fitted).sum() / total)


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
