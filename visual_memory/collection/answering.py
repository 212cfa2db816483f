"""Images to answers: the class, how sure, and the rows that decide.

  asker = Asker(store, k=10, voter="softmax")
  for answer in asker.answers(pictures):
    answer["image"], answer["prediction"], answer["best"][0]

Answers are plain values, as JSON has them: the command line prints them, and a
server may send them as they are.
"""

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from visual_memory.analysis.probabilities import probabilities
from visual_memory.collection import embedding, provenance, pruning_factors
from visual_memory.collection.defaults import VOTER, K
from visual_memory.collection.sureness import Calibration, calibrate
from visual_memory.data.array_source import array_source
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.encoder import Encoder
from visual_memory.retrieval import exact
from visual_memory.store.store import Store
from visual_memory.types import UNLABELED, Neighbors
from visual_memory.voting import vote, weighting
from visual_memory.voting.shares import Shares

_AT_ONCE = 8
"""Pictures between two answers: few, so that the first one comes soon."""
_BEST = 5
_MMAP_THRESHOLD, _LARGE_PIECE = -3, 1 << 20  # glibc's option, and bytes.


class Asker:
  """A memory that is asked, loaded once.

  Attributes:
    store: the memory on disk.
    encoder: its encoder.
    memory: its rows on the devices.
    min_similarity: what is farther from every row is unknown; None: nothing.
  """

  def __init__(
    self,
    store: Store,
    *,
    k: int = K,
    voter: str = VOTER,
    min_similarity: float | None = None,
    encoder: Encoder | None = None,
  ):
    """Loads the memory and its calibration.

    Args:
      store: the memory.
      k: how many neighbors vote (all rows, if there are fewer).
      voter: how much say each has, as `weighting.named` reads it.
      min_similarity: where "unknown" begins; by default what the memory's own
        pictures say (see sureness.py), -1 knows everything.
      encoder: the store's, if it is loaded already.

    Raises:
      StoreError: the store does not know its encoder.
      ValueError: the memory is empty, k is not positive, or an unknown voter.
    """
    self.store = store
    self.setting = weighting.named(voter)
    if k < 1:
      raise ValueError(f"k = {k}: at least one neighbor must vote.")
    self.encoder = encoder or provenance.load_encoder(store)
    self.memory = store.load()
    if not len(self.memory):
      raise ValueError(f"The memory {store.path} is empty: add images.")
    self.k = min(k, len(self.memory))
    self.calibration = calibrate(store, self.memory, self.setting, k=self.k)
    self.min_similarity = (
      self.calibration.min_similarity
      if min_similarity is None
      else min_similarity
    )
    self._factors = pruning_factors.factors(store)

  def answers(self, source: ImageSource) -> Iterator[dict[str, Any]]:
    """The answer of every picture, in order, as they are found.

    Yields:
      `decide`'s answer with image (its id); or, for a picture that cannot be
      read, image and error.
    """
    if _is_large(source) and len(source) > _batch_size():
      self._compile()
    yield from self._answers(source)

  def _answers(self, source: ImageSource) -> Iterator[dict[str, Any]]:
    for ids, embeddings, failed in self.embedded(source):
      if len(ids):
        near = exact.search(embeddings, self.memory, k=self.k)
        for image, answer in zip(ids, self.decide(near), strict=True):
          yield {"image": image, **answer}
      for image, reason in failed:
        yield {"image": image, "error": str(UnreadableImage(image, reason))}

  def _compile(self) -> None:
    """Compiles all that an answer takes, with the answer to a gray picture.

    While large pictures are unpacked, which is done ahead, that would take more
    memory than anything after.
    """
    gray = array_source(
      np.full((1, *self.encoder.preprocess.shape, 3), 128, np.uint8),
      np.full(1, UNLABELED, np.int32),
      ids=["gray"],
      class_names=(),
      fingerprint="gray",
    )
    for _ in self._answers(gray):
      pass
    _give_back_at_once()

  def embedded(self, source: ImageSource):
    """A few pictures at a time: ids, embeddings, and (id, reason) of others."""
    large = _is_large(source)
    if large:
      _give_back_at_once()
    for part in embedding.embed_by_time(
      self.encoder,
      source,
      batch_size=_batch_size(),
      held_s=0.0,
      num_workers=1 if large else None,
    ):
      yield source.ids[part.rows].tolist(), part.embeddings, part.failed

  def decide(self, near: Neighbors) -> list[dict[str, Any]]:
    """What the neighbors of each query decide; see the function `decide`."""
    return decide(
      near,
      self.memory.class_names,
      self.setting,
      factors=None if self._factors is None else self._factors[near.indices],
      calibration=self.calibration,
      min_similarity=self.min_similarity,
    )


def _batch_size() -> int:
  """Pictures that a device is given at a time."""
  return max(1, _AT_ONCE // jax.local_device_count())


def _give_back_at_once() -> None:
  """Returns what was freed to the system, and from now on any large piece.

  By itself glibc soon serves pieces of up to 32 MB from heaps (one a thread),
  which are left with holes.
  """
  with contextlib.suppress(AttributeError, OSError):
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _LARGE_PIECE)
    libc.malloc_trim(0)


def _is_large(source: ImageSource) -> bool:
  """Whether photographs of many megapixels are among the pictures.

  One is decoded at a time then: a folder of them takes little memory.
  """
  return getattr(source, "are_large", False)


def answers(
  store: Store, source: ImageSource, **options: Any
) -> Iterator[dict[str, Any]]:
  """The answers of pictures; see `Asker`, which takes the options."""
  yield from Asker(store, **options).answers(source)


def decide(
  near: Neighbors,
  class_names: Sequence[str],
  setting: weighting.Setting,
  *,
  factors: np.ndarray | None = None,
  calibration: Calibration | None = None,
  min_similarity: float | None = None,
) -> list[dict[str, Any]]:
  """What the neighbors of each query decide, as plain values.

  Args:
    near: all of them vote.
    class_names: of their labels.
    setting: the voter.
    factors: each neighbor's reliability, [Q, k]; 1 by default.
    calibration: from shares to probabilities; without it they are the shares.
    min_similarity: a query whose nearest row is farther is unknown.

  Returns:
    For each query: prediction (a class's name; None where it is unknown or
    nobody votes), known (whether anything is near), share (of all votes, in
    [0, 1]), best (up to five classes with their probability, the most probable
    first), votes (the share of each class that has one, the prediction first),
    neighbors (id, class or None, similarity and weight, best first).
  """
  weights = weighting.weights(near.similarities, setting)
  if factors is not None:
    weights = weights * factors
  names = [*class_names, None]
  predictions = vote.predict(
    near, [setting], ks=(near.k,), num_classes=len(class_names), factors=factors
  )[0, 0]
  sure = _probabilities(near, weights, calibration, len(class_names))
  return [
    _answer(
      names,
      predictions[row],
      near.take([row]),
      weights[row],
      sure[row],
      min_similarity,
    )
    for row in range(len(near))
  ]


def _probabilities(
  near: Neighbors,
  weights: np.ndarray,
  calibration: Calibration | None,
  num_classes: int,
) -> np.ndarray:
  """The probability of each neighbor's class at its first place, [Q, k]."""
  labels = np.asarray(near.labels)
  weights = np.where(labels == UNLABELED, 0.0, weights)
  values = np.zeros(labels.shape, np.float32)
  for place in range(near.k):  # k passes instead of a [Q, k, k].
    same = labels == labels[:, place, None]
    first = ~(same[:, :place]).any(axis=1)
    total = np.where(same, weights, 0).sum(axis=1)
    values[:, place] = np.where(first, total, 0)
  total = values.sum(axis=1, keepdims=True)
  values = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
  if calibration is None or not values.any():
    return values  # Where nobody votes, as without any class, none is likely.
  share = Shares(labels=labels, values=values)
  model = probabilities(share, calibration.model, num_classes=num_classes)
  return np.where(values > 0, model.values, 0.0)


def _answer(
  names: Sequence[str | None],
  prediction: np.integer,
  near: Neighbors,
  weights: np.ndarray,
  sure: np.ndarray,
  min_similarity: float | None,
) -> dict[str, Any]:
  """One image's answer."""
  labels, total = near.labels[0], float(weights[near.labels[0] >= 0].sum())
  say = {
    int(label): float(weights[labels == label].sum()) / total
    for label in np.unique(labels[labels != UNLABELED])
    if total > 0
  }
  order = sorted(say, key=lambda label: (label != prediction, -say[label]))
  known = min_similarity is None or near.similarities[0, 0] >= min_similarity
  places = np.argsort(-sure, kind="stable")[:_BEST]
  return {
    "prediction": names[prediction] if known else None,
    "known": bool(known),
    "share": say.get(int(prediction), 0.0),
    "best": [
      {"class": names[labels[place]], "probability": float(sure[place])}
      for place in places
      if sure[place] > 0
    ],
    "votes": {names[label]: say[label] for label in order},
    "neighbors": [
      {
        "id": str(row_id),
        "class": names[label],
        "similarity": float(similarity),
        "weight": float(weight),
      }
      for row_id, label, similarity, weight in zip(
        near.ids[0], labels, near.similarities[0], weights, strict=True
      )
    ],
  }
