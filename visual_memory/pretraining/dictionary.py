"""A dictionary of patches learned from pictures, without gradients or labels.

  learned = learn(images, settings, key=jax.random.key(0))
  export_dictionary(learned, settings, "work/procedural_patches", training={})

Some minutes on a laptop make an encoder that is far better than pixels; see
`encoders.patch_dictionary` for what it computes.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, UInt8

from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders import encoder_files
from visual_memory.encoders.patch_dictionary import (
  CONTRAST,
  PatchDictionary,
)
from visual_memory.pretraining.export import LICENCE

_SPARE = 32
"""Axes beyond those wanted, so that the last of these converge."""
_ITERATIONS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class DictionarySettings:
  """How a dictionary is learned.

  Attributes:
    size: side of the images in pixels.
    patch: side of a patch.
    num_words: K, patches in the dictionary.
    grid: cells a side for pooling.
    threshold: of the responses.
    dim: D, of the embedding.
    num_patches: from which words are learned.
    rounds: of k-means.
    patch_ridge: added to the variances in which patches are whitened.
    ridge: added to those in which responses are, in units of their mean.
  """

  size: int
  patch: int
  num_words: int
  grid: int
  threshold: float
  dim: int
  num_patches: int
  rounds: int
  patch_ridge: float
  ridge: float

  def __post_init__(self):
    """Raises ValueError for sizes that do not go together."""
    for least, most, what in (
      (self.patch, self.size, "pixels of a patch, but the pictures have"),
      (self.num_words, self.num_patches, "words of a dictionary, but patches:"),
      (self.dim, self.grid**2 * self.num_words, "dimensions, but responses:"),
    ):
      if not 0 < least <= most:
        raise ValueError(f"{least} {what} {most}.")

  @property
  def apply(self) -> PatchDictionary:
    """The function of which the learned arrays are the params."""
    return PatchDictionary(
      patch=self.patch, grid=self.grid, threshold=self.threshold
    )


def learn(
  images: UInt8[np.ndarray, "N S S 3"],
  settings: DictionarySettings,
  *,
  key: PRNGKeyArray,
) -> dict[str, np.ndarray]:
  """Params of a `PatchDictionary`, float32.

  Args:
    images: pictures of the settings' size; some thousands.
    settings: how.
    key: of the choice of patches.

  Raises:
    ValueError: images of another size, or fewer than dimensions to whiten.
  """
  check_images(images, settings)
  patches = random_patches(images, settings, key=key)
  kernel, bias = learn_words(patches, settings)
  return decorrelated(images, settings, kernel=kernel, bias=bias)


def check_images(images: np.ndarray, settings: DictionarySettings) -> None:
  """Raises ValueError unless they fit the settings and are enough."""
  if images.shape[1:] != (settings.size, settings.size, 3):
    raise ValueError(
      f"images are {images.shape[1:]}; the settings say {settings.size}."
    )
  check_enough(len(images), settings)
  if (images == images[:, :1, :1]).all():
    raise ValueError(
      "Each image is of one color: no word can be learned from them."
    )


def check_enough(num_images: int, settings: DictionarySettings) -> None:
  """Raises ValueError unless so many images decorrelate the embedding."""
  if num_images <= settings.dim:
    raise ValueError(
      f"{num_images} images cannot decorrelate {settings.dim} values: give"
      " more images."
    )


def decorrelated(
  images: UInt8[np.ndarray, "N S S 3"],
  settings: DictionarySettings,
  *,
  kernel: Float[np.ndarray, "values K"],
  bias: Float[np.ndarray, "K"],
) -> dict[str, np.ndarray]:
  """Params of the words with a projection learned from their responses."""
  params = {"kernel": kernel, "bias": bias}
  rows = _all_responses(settings.apply, params, images)
  mean, projection = whitening(rows, dim=settings.dim, ridge=settings.ridge)
  return {**params, "mean": mean, "projection": projection}


def random_patches(
  images: UInt8[np.ndarray, "N S S 3"],
  settings: DictionarySettings,
  *,
  key: PRNGKeyArray,
) -> Float[np.ndarray, "P values"]:
  """Normalized patches from random places of random images."""
  seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
  random = np.random.default_rng(seed)
  count, side = settings.num_patches, settings.patch
  which = random.integers(len(images), size=count)
  top, left = random.integers(settings.size - side + 1, size=(2, count))
  reach = np.arange(side)
  patches = images[
    which[:, None, None],
    (top[:, None] + reach)[:, :, None],
    (left[:, None] + reach)[:, None, :],
  ]
  patches = patches.reshape(count, -1).astype(np.float32) / 255
  patches -= patches.mean(axis=1, keepdims=True)
  return patches / np.sqrt(patches.var(axis=1, keepdims=True) + CONTRAST)


def learn_words(
  patches: Float[np.ndarray, "P values"], settings: DictionarySettings
) -> tuple[np.ndarray, np.ndarray]:
  """Kernel and bias: similarity of a patch p to the words is p K - b.

  Patches are whitened by ZCA; words are the directions of spherical k-means,
  begun at the first patches. A word that no patch chooses stays as it is.
  """
  mean, whiten = patch_whitening(patches, ridge=settings.patch_ridge)
  centered = (patches - mean).astype(np.float64)
  white = jnp.asarray(centered @ whiten, jnp.float32)
  words = white[: settings.num_words]
  words = words / jnp.linalg.norm(words, axis=1, keepdims=True)
  for _ in range(settings.rounds):
    words = _better_words(white, words)
  return in_patches(np.asarray(words, np.float64), mean=mean, whiten=whiten)


def patch_whitening(
  patches: Float[np.ndarray, "P values"], *, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
  """Mean [values] and the matrix [values, values] that whitens (ZCA)."""
  mean = patches.mean(axis=0)
  centered = (patches - mean).astype(np.float64)
  variances, axes = np.linalg.eigh(centered.T @ centered / len(patches))
  scale = 1 / np.sqrt(np.maximum(variances, 0) + ridge)
  return mean, (axes * scale) @ axes.T


def in_patches(
  words: Float[np.ndarray, "K values"], *, mean: np.ndarray, whiten: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Kernel and bias of words that live among whitened patches, float32."""
  kernel = whiten @ words.T
  return kernel.astype(np.float32), (mean @ kernel).astype(np.float32)


@jax.jit
def _better_words(white: jax.Array, words: jax.Array) -> jax.Array:
  """One round of spherical k-means."""
  similarities = jnp.matmul(white, words.T, precision=jax.lax.Precision.HIGHEST)
  chosen = jnp.argmax(similarities, axis=1)
  best = jnp.max(similarities, axis=1, keepdims=True)
  sums = jnp.zeros_like(words).at[chosen].add(white * best)
  lengths = jnp.linalg.norm(sums, axis=1, keepdims=True)
  return jnp.where(lengths > 1e-6, sums / jnp.maximum(lengths, 1e-6), words)


def whitening(
  rows: Float[np.ndarray, "N R"], *, dim: int, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
  """Mean [R] and projection [R, dim] onto decorrelated values.

  The values have variance v / (v + ridge * mean(v)), where v are the greatest
  variances along principal axes, found by subspace iteration (Halko et al.,
  "Finding structure with randomness", 2011).
  """
  mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
  covariance = _covariance(rows - mean)
  size = len(mean)
  start = np.random.default_rng(0).normal(size=(size, min(size, dim + _SPARE)))
  basis = jnp.asarray(start, jnp.float32)
  for _ in range(_ITERATIONS):
    basis = _iterate(covariance, basis)
  small = _dot(basis.T, _dot(covariance, basis))
  variances, turn = np.linalg.eigh(np.asarray(small, np.float64))
  variances = np.maximum(variances[::-1][:dim], 0)
  axes = np.asarray(basis, np.float64) @ turn[:, ::-1][:, :dim]
  floor = ridge * float(jnp.trace(covariance)) / size
  return mean, (axes / np.sqrt(variances + floor)).astype(np.float32)


@jax.jit
def _covariance(centered: jax.Array) -> jax.Array:
  return _dot(centered.T, centered) / len(centered)


@jax.jit
def _iterate(covariance: jax.Array, basis: jax.Array) -> jax.Array:
  """A basis nearer to the axes of greatest variance."""
  return jnp.linalg.qr(_dot(covariance, basis))[0]


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
  return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


def export_dictionary(
  params: Mapping[str, np.ndarray],
  settings: DictionarySettings,
  path: str | os.PathLike,
  *,
  training: Mapping[str, Any],
) -> pathlib.Path:
  """Writes an encoder's two files; returns the path of the weights."""
  square = Preprocess(
    resize=settings.size, crop=settings.size, long_side="square",
    mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
  )  # fmt: skip
  card = {
    "kind": "patches",
    "config": dataclasses.asdict(settings.apply),
    "preprocess": square.to_dict(),
    "recipe": dataclasses.asdict(settings),
    "training": dict(training),
    "licence": LICENCE,
  }
  return encoder_files.write(path, dict(params), card)


def _all_responses(
  apply: PatchDictionary, params: Any, images: np.ndarray
) -> np.ndarray:
  """Responses to all images, a few at a time."""
  run = jax.jit(apply.responses)
  step = 128
  padded = np.pad(images, [(0, -len(images) % step)] + [(0, 0)] * 3)
  rows = [
    np.asarray(run(params, padded[i : i + step] / np.float32(255)))
    for i in range(0, len(padded), step)
  ]
  return np.concatenate(rows)[: len(images)]
