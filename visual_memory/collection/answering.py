"""Images to answers: the class, the shares of the vote, the deciding rows.

  pictures, _, _ = inputs.open_pictures(["inbox/"])
  for answer in answers(store, pictures, k=10, voter="softmax"):
    answer["image"], answer["prediction"]

Answers are plain values, as JSON has them: the command line prints them, and a
server may send them as they are.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from visual_memory.collection import embedding, provenance
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.encoder import Encoder
from visual_memory.retrieval import exact
from visual_memory.store.store import Store
from visual_memory.types import Neighbors
from visual_memory.voting import shares, vote, weighting

_AT_ONCE = 8
"""Pictures between two answers: few, so that the first one comes soon."""


def answers(
  store: Store,
  source: ImageSource,
  *,
  k: int,
  voter: str,
  encoder: Encoder | None = None,
) -> Iterator[dict[str, Any]]:
  """Prediction, shares and neighbors of every picture, as they are found.

  Args:
    store: the memory.
    source: the pictures; a few at a time are held.
    k: how many neighbors vote (all rows, if there are fewer).
    voter: how much say each has; a key of `weighting.VOTERS`.
    encoder: the store's, if it is loaded already.

  Yields:
    For each picture, in order: image (its id), prediction (a class's name, or
    None), share (of all votes, in [0, 1]), votes (the share of each class that
    has one, the prediction first), neighbors (id, class or None, similarity
    and weight, best first). For one that cannot be read: image and error.

  Raises:
    StoreError: the store does not know its encoder.
    ValueError: the memory is empty, or k is not positive.
  """
  encoder = provenance.load_encoder(store) if encoder is None else encoder
  memory = store.load()
  if not len(memory):
    raise ValueError(f"The memory {store.path} is empty: add images.")
  if k < 1:
    raise ValueError(f"k = {k}: at least one neighbor must vote.")
  setting = weighting.setting(voter)
  batch_size = max(1, _AT_ONCE // jax.local_device_count())
  for part in embedding.embed_by_time(
    encoder, source, batch_size=batch_size, held_s=0.0
  ):
    if len(part.rows):
      near = exact.search(part.embeddings, memory, k=min(k, len(memory)))
      decided = decide(near, memory.class_names, setting)
      for row, answer in zip(part.rows, decided, strict=True):
        yield {"image": source.ids[row], **answer}
    for image, reason in part.failed:
      yield {"image": image, "error": str(UnreadableImage(image, reason))}


def decide(
  near: Neighbors, class_names: Sequence[str], setting: weighting.Setting
) -> list[dict[str, Any]]:
  """What the neighbors of each query decide, as plain values.

  Args:
    near: all of them vote.
    class_names: of their labels.
    setting: the voter.

  Returns:
    For each query, what `answers` returns, but for the image's name.
  """
  weights = weighting.weights(near.similarities, setting)
  names = [*class_names, None]
  predictions = vote.predict(
    near, [setting], ks=(near.k,), num_classes=len(class_names)
  )[0, 0]
  return [
    _answer(names, predictions[row], near.take([row]), weights[row])
    for row in range(len(near))
  ]


def _answer(
  names: Sequence[str | None],
  prediction: np.integer,
  near: Neighbors,
  weights: np.ndarray,
) -> dict[str, Any]:
  """One image's answer."""
  labels = near.labels[0]
  say = shares.class_shares(labels, weights)
  order = sorted(say, key=lambda label: label != prediction)
  return {
    "prediction": names[prediction],
    "share": say.get(int(prediction), 0.0),
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
