"""A baseline without learning: bags of SIFT words (`perception` extra).

  words = vocabulary(source, num_words=150, num_features=35, seed=0)
  counts = word_counts(source, words, num_features=35)       # [N, words]
  embedded = bags(counts, source, words, num_features=35)

Reference: procedural-data paper, Sec. 8.4 of its code: 35 features of each gray
picture, 150 words by k-means, counts of words; it classifies them by an SVM
(`probes.support_vectors`) on the counts as they are, drops pictures without
features, and reports 3.08 % on ImageNet. In a memory such pictures stay, as
rows of zeros.
"""

import hashlib

import numpy as np
from jaxtyping import Float32

from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.image_source import ImageSource
from visual_memory.types import EmbeddedSet, embedded_set

_PASSES = 10


def vocabulary(
  source: ImageSource,
  *,
  num_words: int,
  num_features: int,
  seed: int,
) -> Float32[np.ndarray, "words 128"]:
  """The centers of k-means over the SIFT features of all pictures.

  scikit-learn's mini-batch form: memory is one batch beside the features.

  Raises:
    ImportError: OpenCV is missing.
    ValueError: fewer features than words.
  """
  from sklearn.cluster import MiniBatchKMeans

  features = np.concatenate(
    [np.zeros((0, 128), np.float32), *_all_features(source, num_features)]
  )
  if len(features) < num_words:
    raise ValueError(
      f"{len(source)} pictures have {len(features)} SIFT features together,"
      f" too few for {num_words} words."
    )
  found = MiniBatchKMeans(
    num_words, random_state=seed, n_init=3, max_iter=_PASSES, batch_size=4096
  ).fit(features)
  return found.cluster_centers_.astype(np.float32)


def word_counts(
  source: ImageSource,
  words: Float32[np.ndarray, "words 128"],
  *,
  num_features: int,
) -> Float32[np.ndarray, "N words"]:
  """How often each word is the nearest one of a picture's features.

  Zeros for a picture without features, or that cannot be read.
  """
  counts = np.zeros((len(source), len(words)), np.float32)
  squares = np.square(words).sum(axis=1)
  for row, features in enumerate(_all_features(source, num_features)):
    nearest = np.argmin(squares - 2 * features @ words.T, axis=1)
    counts[row] = np.bincount(nearest, minlength=len(words))
  return counts


def bags(
  counts: Float32[np.ndarray, "N words"],
  source: ImageSource,
  words: Float32[np.ndarray, "words 128"],
  *,
  num_features: int,
) -> EmbeddedSet:
  """The counts of a source's pictures as rows of unit length (or zeros)."""
  lengths = np.linalg.norm(counts, axis=1, keepdims=True)
  digest = hashlib.sha256(np.ascontiguousarray(words).tobytes()).hexdigest()
  return embedded_set(
    counts / np.maximum(lengths, 1),
    source.labels,
    source.ids,
    class_names=source.class_names,
    fingerprint=f"sift{num_features}-{digest[:24]}",
  )


def _all_features(source: ImageSource, num_features: int):
  """The SIFT features of each picture, [F, 128]; F may be zero."""
  try:
    import cv2
  except ImportError as error:
    raise ImportError(
      "SIFT needs OpenCV: pip install 'visual_memory[perception]'."
    ) from error
  sift = cv2.SIFT_create(num_features)
  for row in range(len(source)):
    try:
      gray = cv2.cvtColor(source[row].image, cv2.COLOR_RGB2GRAY)
    except UnreadableImage:
      yield np.zeros((0, 128), np.float32)
      continue
    _, features = sift.detectAndCompute(gray, None)
    yield np.zeros((0, 128), np.float32) if features is None else features
