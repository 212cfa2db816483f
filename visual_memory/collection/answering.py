"""Images to answers: the class, the shares of the vote, the deciding rows.

  pictures, failed = read_pictures(["new.jpg"])
  answers(store, pictures, k=10, voter="softmax")[0]["prediction"]

Answers are plain values, as JSON has them: the command line prints them, and a
server may send them as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory.collection import provenance
from visual_memory.data.decoding import UnreadableImage, decode_image
from visual_memory.retrieval import exact
from visual_memory.store import errors
from visual_memory.store.store import Store
from visual_memory.types import UNLABELED, Neighbors
from visual_memory.voting import vote, weighting


def read_pictures(
  paths: Sequence[str],
) -> tuple[dict[str, np.ndarray], list[dict[str, str]]]:
  """The images that can be read, by path, and what is wrong with others."""
  pictures, failed = {}, []
  for path in paths:
    try:
      with open(path, "rb") as file:
        pictures[path] = decode_image(file.read(), id=path)
    except OSError as error:
      failed.append({"image": path, "error": errors.sentence(error)})
    except UnreadableImage as error:
      failed.append({"image": path, "error": str(error)})
  return pictures, failed


def answers(
  store: Store, pictures: Mapping[str, np.ndarray], *, k: int, voter: str
) -> list[dict[str, Any]]:
  """Prediction, shares and neighbors of every image, in their order.

  Args:
    store: the memory.
    pictures: uint8 [H, W, 3] by name.
    k: how many neighbors vote (all rows, if there are fewer).
    voter: how much say each has; a key of `weighting.VOTERS`.

  Returns:
    For each image: image (its name), prediction (a class's name, or None),
    share (of all votes, in [0, 1]), votes (the share of each class that has
    one, the prediction first), neighbors (id, class or None, similarity and
    weight, best first).

  Raises:
    StoreError: the store does not know its encoder.
    ValueError: the memory is empty, or k is not positive.
  """
  encoder = provenance.load_encoder(store)
  memory = store.load()
  if not len(memory):
    raise ValueError(f"The memory {store.path} is empty: add images.")
  if k < 1:
    raise ValueError(f"k = {k}: at least one neighbor must vote.")
  k = min(k, len(memory))
  near = exact.search(encoder.encode(list(pictures.values())), memory, k=k)
  decided = decide(near, memory.class_names, weighting.setting(voter))
  return [
    {"image": name, **answer}
    for name, answer in zip(pictures, decided, strict=True)
  ]


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
  labels, total = near.labels[0], float(weights[near.labels[0] >= 0].sum())
  say = {
    int(label): float(weights[labels == label].sum()) / total
    for label in np.unique(labels[labels != UNLABELED])
    if total > 0
  }
  order = sorted(say, key=lambda label: (label != prediction, -say[label]))
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
