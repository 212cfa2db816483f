"""What a picture's features know of its objects: one picture, no training.

  maps = pca_maps(features, size=112)              # [B, 112, 112, 3] in [0, 1]
  r2 = explained_by_classes(maps[0], mask)         # 1 - within / total
  clusters = cluster(features, num_clusters=4, seed=0)
  found = attend(prompt, prompt_mask, query)       # [H', W'] in [0, 1]

Reference: procedural-data paper.
* Components: Table 2 and Figs. 9, 12. There the total is taken around one mean
  of all channels together, which counts the distance between the channels'
  means as explained: `as_published` is that, and always at least as large where
  the clusters are the same.
* Clusters: App. B.4, Figs. 18-19 (shown, not scored, and K unpublished). Scored
  here: each is matched to at most one class so that the summed IoU is largest
  (Hungarian algorithm).
* In context, a picture with a mask says what to look for: Fig. 10. Every patch
  of the query copies mask patches of the prompt: all of them by their
  attention, softmax of z1.z2 / D (not its square root) over raw last-layer
  tokens, cut at 0.2; or that of its nearest patch. Attention is flat for tokens
  much shorter than sqrt(D), which the last LayerNorm of a vision transformer
  makes and other encoders do not: `temperature` is for all.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

from visual_memory.data.preprocess import resized
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
  picture = resized(image, (size, size), interpolation="bilinear")
  return np.asarray(picture, np.float32) / 255


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
  classes = Image.fromarray(mask.astype(np.int32)).resize(
    (size, size), Image.Resampling.NEAREST
  )
  return np.asarray(classes)


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


def cluster(
  features: Float[np.ndarray, "h w D"], *, num_clusters: int, seed: int
) -> Int[np.ndarray, "h w"]:
  """The cluster of each patch: scikit-learn's k-means, k-means++ seeding.

  Raises:
    ValueError: more clusters than patches.
  """
  from sklearn.cluster import KMeans

  rows, columns, dim = features.shape
  if num_clusters > rows * columns:
    raise ValueError(
      f"{num_clusters} clusters cannot be made of {rows * columns} patches."
    )
  found = KMeans(num_clusters, n_init=3, random_state=seed).fit(
    features.reshape(-1, dim)
  )
  return found.labels_.reshape(rows, columns).astype(np.int32)


def matched_iou(
  clusters: Int[np.ndarray, "H W"], mask: Int[np.ndarray, "H W"]
) -> Float[np.ndarray, "M"]:
  """The IoU of each class of a mask with the cluster matched to it.

  The best one-to-one matching; a class beyond the number of clusters gets 0.
  """
  from scipy.optimize import linear_sum_assignment

  counted = mask != UNLABELED
  classes, true = np.unique(mask[counted], return_inverse=True)
  names, found = np.unique(clusters[counted], return_inverse=True)
  both = np.zeros((len(classes), len(names)), np.int64)
  np.add.at(both, (true, found), 1)
  either = both.sum(axis=1)[:, None] + both.sum(axis=0)[None] - both
  iou = both / np.maximum(either, 1)
  rows, columns = linear_sum_assignment(iou, maximize=True)
  result = np.zeros(len(classes))
  result[rows] = iou[rows, columns]
  return result


PUBLISHED_CUT = 0.2


@functools.partial(jax.jit, static_argnames="nearest")
def attend(
  prompt: Float[Array, "h w D"],
  mask: Float[Array, "H W"],
  query: Float[Array, "h w D"],
  *,
  nearest: bool = False,
  temperature: float | jax.Array | None = None,
) -> Float32[jax.Array, "H W"]:
  """The mask of the prompt, carried over to the query.

  Args:
    prompt: features of the prompt's patches.
    mask: its mask in [0, 1]; H and W are whole multiples of h and w.
    query: features of the query's patches.
    nearest: copy the mask of the most similar patch (cosine; ties: the first)
      in place of the softmax of all.
    temperature: the softmax of cosines divided by it, in place of the
      published one of products.

  Raises:
    ValueError: a mask that is not a whole number of pixels per patch.
  """
  rows, columns, dim = prompt.shape
  height, width = mask.shape
  if height % rows or width % columns:
    raise ValueError(
      f"A mask of {height}x{width} pixels does not divide into {rows}x{columns}"
      " patches: resize it."
    )
  cell = (height // rows, width // columns)
  patches = mask.reshape(rows, cell[0], columns, cell[1]).swapaxes(1, 2)
  patches = patches.reshape(rows * columns, -1)  # [P, pixels]
  keys, queries = prompt.reshape(-1, dim), query.reshape(-1, dim)
  if nearest or temperature is not None:
    keys, queries = _unit(keys), _unit(queries)
  scores = jnp.matmul(queries, keys.T, precision=jax.lax.Precision.HIGHEST)
  if nearest:
    found = patches[jnp.argmax(scores, axis=1)]
  else:
    scale = dim if temperature is None else temperature
    found = jnp.matmul(
      jax.nn.softmax(scores / scale, axis=1),
      patches,
      precision=jax.lax.Precision.HIGHEST,
    )
  found = found.reshape(rows, columns, *cell).swapaxes(1, 2)
  return found.reshape(height, width).astype(jnp.float32)


def cut(
  found: Float[np.ndarray, "*shape"], *, threshold: float
) -> Float[np.ndarray, "*shape"]:
  """The part of a map above a threshold, stretched to [0, 1] again."""
  return np.maximum(found - threshold, 0) / (1 - threshold)


def _unit(rows: jax.Array) -> jax.Array:
  lengths = jnp.linalg.norm(rows, axis=1, keepdims=True)
  return rows / jnp.where(lengths == 0, 1, lengths)
