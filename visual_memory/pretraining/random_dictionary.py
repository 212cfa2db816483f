"""Dictionaries of which less is learned: what a learned one is compared with.

  params = draw(settings, key=jax.random.key(0))             # nothing learned
  params = learn_whitening(images, settings, key=key)        # all but the words

Both have the shapes of `dictionary.learn`, and can be exported alike.
"""

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray, UInt8

from visual_memory.pretraining import dictionary
from visual_memory.pretraining.dictionary import DictionarySettings


def draw(
  settings: DictionarySettings, *, key: PRNGKeyArray
) -> dict[str, np.ndarray]:
  """Params of a `PatchDictionary` that has seen no picture, float32.

  Words are patches of Gaussian noise without their mean, of length one; the
  projection is onto random orthonormal axes; bias and mean are zero.
  """
  random = _stream(key)
  values = settings.patch**2 * 3
  width = settings.grid**2 * settings.num_words
  words = random.normal(size=(settings.num_words, values))
  words = _unit(words - words.mean(axis=1, keepdims=True))
  axes, _ = np.linalg.qr(random.normal(size=(width, settings.dim)))
  return {
    "kernel": words.T.astype(np.float32),
    "bias": np.zeros(settings.num_words, np.float32),
    "mean": np.zeros(width, np.float32),
    "projection": axes.astype(np.float32),
  }


def learn_whitening(
  images: UInt8[np.ndarray, "N S S 3"],
  settings: DictionarySettings,
  *,
  key: PRNGKeyArray,
) -> dict[str, np.ndarray]:
  """As `dictionary.learn`, but for the words.

  They are random directions among whitened patches, where learned ones are the
  centers of k-means. How patches and responses are whitened is learned from
  the pictures.

  Raises:
    ValueError: see `dictionary.learn`.
  """
  dictionary.check_images(images, settings)
  patches = dictionary.random_patches(images, settings, key=key)
  mean, whiten = dictionary.patch_whitening(patches, ridge=settings.patch_ridge)
  shape = (settings.num_words, patches.shape[1])
  words = _unit(_stream(key).normal(size=shape))
  kernel, bias = dictionary.in_patches(words, mean=mean, whiten=whiten)
  return dictionary.decorrelated(images, settings, kernel=kernel, bias=bias)


def _stream(key: PRNGKeyArray) -> np.random.Generator:
  """NumPy's generator of a key, another than that of the patches."""
  data = jax.random.key_data(jax.random.fold_in(key, 1))
  return np.random.default_rng(np.asarray(data).ravel().tolist())


def _unit(
  rows: Float[np.ndarray, "K values"],
) -> Float[np.ndarray, "K values"]:
  """Each row divided by its length."""
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)
