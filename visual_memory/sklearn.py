"""The memory as a scikit-learn classifier that can be edited.

  from visual_memory.sklearn import VisualMemoryClassifier

  model = VisualMemoryClassifier(n_neighbors=10).fit(embeddings, labels)
  model.partial_fit(more, more_labels)        # new rows, and new classes
  model.remove([3, 17])                       # rows, gone for real
  model.predict(queries), model.predict_proba(queries)

X are embeddings [N, D]; with encoder="procedural_patches" (or an Encoder) they
are images: uint8 arrays [H, W, 3], or image files. Rows are compared by cosine,
so their lengths do not matter. What scikit-learn calls n_neighbors is k here.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from visual_memory.data.decoding import decode_image
from visual_memory.encoders import encoder as encoder_lib
from visual_memory.encoders.encoder import Encoder
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.types import EmbeddedSet, Neighbors, embedded_set
from visual_memory.voting import vote

try:
  from sklearn.base import BaseEstimator, ClassifierMixin
  from sklearn.utils.multiclass import check_classification_targets
  from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
  raise ImportError(
    "visual_memory.sklearn needs scikit-learn: install it with"
    " pip install 'visual_memory[data]'."
  ) from error

_FINGERPRINT = "given"


class VisualMemoryClassifier(ClassifierMixin, BaseEstimator):
  """A vote of the nearest rows, exact, whose rows can be added and removed.

  Of two classes with equal sums the first of `classes_` is predicted, as
  scikit-learn does (`vote` prefers the one that reached the sum first).

  Args:
    n_neighbors: how many neighbors vote (all rows, if there are fewer).
    voter: "plurality", "distance", "softmax" or "rank".
    encoder: None: X are embeddings; an encoder, or its name: images.

  Attributes:
    classes_: the labels, sorted, [C].
    memory_: a VisualMemory of all rows; ids are their positions in the order
      in which they were given.
    n_features_in_: D, where X are embeddings.
  """

  def __init__(
    self,
    n_neighbors: int = 10,
    *,
    voter: str = "softmax",
    encoder: str | Encoder | None = None,
  ):
    """Keeps the settings; `fit` looks at them."""
    self.n_neighbors = n_neighbors
    self.voter = voter
    self.encoder = encoder

  def fit(self, X: Any, y: Any) -> "VisualMemoryClassifier":
    """A memory of these rows, and of no others.

    Raises:
      ValueError: rows that are not finite, labels that are no classes, or
        fewer labels than rows.
    """
    rows, y = self._checked(X, y, reset=True)
    self.classes_, labels = np.unique(y, return_inverse=True)
    self._next = 0
    self.memory_ = VisualMemory.from_embedded(self._embedded(rows, labels))
    return self

  def partial_fit(
    self, X: Any, y: Any, classes: Any = None
  ) -> "VisualMemoryClassifier":
    """Adds rows; unknown labels become new classes.

    Args:
      X: the rows.
      y: their labels.
      classes: labels that will come; the first call may name them.
    """
    first = not hasattr(self, "memory_")
    rows, y = self._checked(X, y, reset=first)
    if first:
      self.classes_ = np.unique(y if classes is None else classes)
      self._next = 0
    old = self.classes_
    self.classes_ = np.unique(np.concatenate([old, y]))
    added = self._embedded(rows, np.searchsorted(self.classes_, y))
    if first:
      self.memory_ = VisualMemory.from_embedded(added)
    else:
      self.memory_ = self.memory_.add(added)
    return self

  def remove(self, indices: Sequence[int]) -> "VisualMemoryClassifier":
    """Removes rows by the positions at which they were given, for real.

    Raises:
      KeyError: a row that is not there any more.
    """
    check_is_fitted(self, "memory_")
    self.memory_ = self.memory_.remove([str(int(i)) for i in indices])
    return self

  def predict(self, X: Any) -> np.ndarray:
    """The label of each row of X, [Q]."""
    shares = self.predict_proba(X)
    return self.classes_[shares.argmax(axis=1)]

  def predict_proba(self, X: Any) -> np.ndarray:
    """The share of the vote of each class, [Q, C]; rows sum to 1."""
    near = self._near(X, self.n_neighbors)
    names = list(self.memory_.class_names)
    votes = vote.vote(
      near, voter=self.voter, ks=(near.k,), num_classes=len(names)
    )
    scores = votes.class_scores[0].astype(np.float64)
    shares = np.zeros((len(near), len(self.classes_)))
    columns = {str(name): c for c, name in enumerate(map(_name, self.classes_))}
    shares[:, [columns[name] for name in names]] = scores
    total = shares.sum(axis=1, keepdims=True)
    even = np.full_like(shares, 1 / shares.shape[1])
    return np.divide(shares, total, out=even, where=total > 0)

  def kneighbors(
    self,
    X: Any = None,
    n_neighbors: int | None = None,
    return_distance: bool = True,
  ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """The nearest rows: distances (1 - cosine, ascending) and positions.

    Args:
      X: queries; None asks every row of all the others.
      n_neighbors: how many; those of the classifier by default.
      return_distance: whether distances come first.

    Returns:
      (distances [Q, k], positions among the rows that are there [Q, k]), or
      the positions alone.
    """
    near = self._near(X, n_neighbors or self.n_neighbors)
    indices = np.asarray(near.indices, np.intp)
    if not return_distance:
      return indices
    return 1 - np.asarray(near.similarities, np.float64), indices

  def __sklearn_tags__(self):
    """What scikit-learn may expect of it."""
    tags = super().__sklearn_tags__()
    tags.input_tags.sparse = False
    return tags

  def _checked(self, X, y, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows and their labels."""
    if self.encoder is None:
      X, y = validate_data(self, X, y, reset=reset, dtype=np.float64)
    else:
      X, y = self._encoded(X), np.asarray(y)
      if len(X) != len(y):
        raise ValueError(f"{len(X)} images but {len(y)} labels.")
    check_classification_targets(y)
    return _unit(X), y

  def _near(self, X: Any, k: int) -> Neighbors:
    """The neighbors of queries, or of the rows themselves."""
    check_is_fitted(self, "memory_")
    if X is None:
      rows = self.memory_.embedded()
      k = min(k, len(rows) - 1)
      return exact.search(
        rows.embeddings, self.memory_, k=k, exclude_self=rows.ids
      )
    if self.encoder is None:
      X = validate_data(self, X, reset=False, dtype=np.float64)
    else:
      X = self._encoded(X)
    k = min(k, len(self.memory_))
    return exact.search(_unit(X), self.memory_, k=k)

  def _encoded(self, images: Any) -> np.ndarray:
    """The embeddings of images or image files."""
    encoder = self.encoder
    if isinstance(encoder, str):
      encoder = encoder_lib.load_encoder(encoder)
    return encoder.encode([_pixels(image) for image in images])

  def _embedded(self, rows: np.ndarray, labels: np.ndarray) -> EmbeddedSet:
    """New rows with ids of their own."""
    first, self._next = self._next, self._next + len(rows)
    return embedded_set(
      rows,
      labels.astype(np.int32),
      [str(row) for row in range(first, self._next)],
      class_names=[_name(label) for label in self.classes_],
      fingerprint=_FINGERPRINT,
    )


def _name(label: Any) -> str:
  """A label as the name of a class."""
  return str(label)


def _unit(rows: np.ndarray) -> np.ndarray:
  """Rows of length one, float32; a zero row stays zero."""
  rows = np.asarray(rows, np.float64)
  largest = np.abs(rows).max(axis=1, keepdims=True)
  rows = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
  length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
  unit = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
  return unit.astype(np.float32)


def _pixels(image: Any) -> np.ndarray:
  """An image, from its file if that is what was given."""
  if isinstance(image, (str, os.PathLike)):
    with open(image, "rb") as file:
      return decode_image(file.read(), id=os.fspath(image), profile=True)
  return np.asarray(image)
