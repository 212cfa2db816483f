"""Heads: what a network believes before it looks into its memories.

  head = text_head(classifier, inverse_temperature=100.0, fraction=0.1, ...)
  guess = head(asked, shots, projection)              # PseudoLabels

With a text tower the head is a text classifier. Without, it is a visual memory:
of the shots (`vote_head`), or of all rows, voted beforehand (`given_head`).
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float32, Int32

from visual_memory.dual_memory.projections import Projection
from visual_memory.dual_memory.pseudo_labels import (
  PseudoLabels,
  pseudo_labels,
  text_pseudo_labels,
)
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.types import Neighbors, embedded_set
from visual_memory.voting import vote, weighting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
  """Queries in the order of their stream; host arrays.

  Attributes:
    views: unit rows, view 0 the center crop, [N, V, D].
    labels: true classes, for scoring alone, [N].
    guess: what a `given_head` says about them; None otherwise.
  """

  views: Float[np.ndarray, "N V D"]
  labels: Int32[np.ndarray, "N"]
  guess: PseudoLabels | None = None

  @property
  def embeddings(self) -> Float32[np.ndarray, "N D"]:
    """The center crops', the only ones that are stored and read."""
    return np.ascontiguousarray(self.views[:, 0], np.float32)

  def take(self, rows: np.ndarray) -> "Asked":
    """These queries, in this order."""
    guess = self.guess
    if guess is not None:
      guess = PseudoLabels(**{k: v[rows] for k, v in vars(guess).items()})
    return Asked(views=self.views[rows], labels=self.labels[rows], guess=guess)


Head = Callable[[Asked, np.ndarray | None, Projection], PseudoLabels]
"""From queries, shots [C, S, D] (None without) and a projection to a guess."""


def text_head(
  classifier: Float32[np.ndarray, "C D"],
  *,
  inverse_temperature: float,
  fraction: float,
  mesh: Mesh,
) -> Head:
  """The text classifier, trained if the projection is."""

  def head(asked, shots, projection):
    del shots
    return text_pseudo_labels(
      asked.views,
      classifier,
      projection=projection,
      inverse_temperature=inverse_temperature,
      fraction=fraction,
      mesh=mesh,
    )

  return head


def vote_head(*, max_k: int, temperature: float, mesh: Mesh) -> Head:
  """A visual memory of the shots: a softmax vote of the nearest of them.

  Args:
    max_k: neighbors that vote, or all shots if there are fewer.
    temperature: of the vote.
    mesh: the devices that hold the memory.
  """

  def head(asked, shots, projection):
    del projection
    num_classes, num_shots, dim = shots.shape
    rows = embedded_set(
      shots.reshape(-1, dim),
      np.repeat(np.arange(num_classes), num_shots),
      [str(row) for row in range(num_classes * num_shots)],
      class_names=[str(label) for label in range(num_classes)],
      fingerprint="shots",
    )
    memory = VisualMemory.from_embedded(rows, mesh=mesh)
    near = exact.search(asked.embeddings, memory, k=min(max_k, len(rows)))
    return voted(near, num_classes=num_classes, temperature=temperature)

  return head


def given_head(asked: Asked, shots: object, projection: object) -> PseudoLabels:
  """What the queries bring with them, made by `voted`."""
  del shots, projection
  return asked.guess


def voted(
  near: Neighbors, *, num_classes: int, temperature: float
) -> PseudoLabels:
  """A softmax vote of all given neighbors, as probabilities over classes."""
  setting = weighting.setting("softmax", temperature=temperature)
  scores = vote.class_scores(
    near.labels,
    weighting.weights(near.similarities, setting),
    ks=(near.k,),
    num_classes=num_classes,
  )[0]
  scores = scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-30)
  return pseudo_labels(scores[:, None], fraction=1.0)
