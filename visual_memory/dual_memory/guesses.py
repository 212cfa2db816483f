"""What a network believes before it looks into its memories.

  guesser = by_text(classifier, inverse_temperature=100.0, fraction=0.1, ...)
  guess = guesser(asked, shots, projection)
  guess.scores, guess.labels, guess.entropies

With a text tower a text classifier guesses. Without, a visual memory does: of
the shots (`by_vote`), or of all rows, voted beforehand (`as_given`). The label
and the entropy are those of the surest views, and decide what is remembered.

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), section 3.2, after
Shu et al., "Test-Time Prompt Tuning" (NeurIPS 2022): of V views the tenth of
lowest entropy is averaged. The constants inside the logarithms are those of the
released code, which takes none of fewer than ten views; here it is one.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float32, Int32

from visual_memory.distributed import map_rows
from visual_memory.dual_memory.reading import Projection, probabilities
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.types import Array, Neighbors, embedded_set
from visual_memory.voting import vote, weighting

_BLOCK = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guess:
  """What is believed about N images; host arrays.

  Attributes:
    scores: probabilities by the first view alone, [N, C].
    labels: the class of the surest views' average, [N].
    entropies: of that average, in nats, [N].
  """

  scores: Float32[np.ndarray, "N C"]
  labels: Int32[np.ndarray, "N"]
  entropies: Float32[np.ndarray, "N"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
  """Queries in the order of their stream; host arrays.

  Attributes:
    views: unit rows, view 0 the center crop, [N, V, D].
    labels: true classes, for scoring alone, [N].
    guess: what a `as_given` says about them; None otherwise.
  """

  views: Float[np.ndarray, "N V D"]
  labels: Int32[np.ndarray, "N"]
  guess: Guess | None = None

  @property
  def embeddings(self) -> Float32[np.ndarray, "N D"]:
    """The center crops', the only ones that are stored and read."""
    return np.ascontiguousarray(self.views[:, 0], np.float32)

  def take(self, rows: np.ndarray) -> "Asked":
    """These queries, in this order."""
    guess = self.guess
    if guess is not None:
      guess = Guess(**{k: v[rows] for k, v in vars(guess).items()})
    return Asked(views=self.views[rows], labels=self.labels[rows], guess=guess)


Guesser = Callable[[Asked, np.ndarray | None, Projection], Guess]
"""From queries, shots [C, S, D] (None without) and a projection to a guess."""


def by_text(
  classifier: Float32[np.ndarray, "C D"],
  *,
  inverse_temperature: float,
  fraction: float,
  mesh: Mesh,
) -> Guesser:
  """The text classifier, trained if the projection is."""

  def guesser(asked, shots, projection):
    del shots
    return text_pseudo_labels(
      asked.views,
      classifier,
      projection=projection,
      inverse_temperature=inverse_temperature,
      fraction=fraction,
      mesh=mesh,
    )

  return guesser


def by_vote(*, max_k: int, temperature: float, mesh: Mesh) -> Guesser:
  """A visual memory of the shots: a softmax vote of the nearest of them.

  Args:
    max_k: neighbors that vote, or all shots if there are fewer.
    temperature: of the vote.
    mesh: the devices that hold the memory.
  """

  def guesser(asked, shots, projection):
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

  return guesser


def as_given(asked: Asked, shots: object, projection: object) -> Guess:
  """What the queries bring with them, made by `voted`."""
  del shots, projection
  return asked.guess


def voted(near: Neighbors, *, num_classes: int, temperature: float) -> Guess:
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


def text_pseudo_labels(
  views: Float[np.ndarray, "N V D"],
  classifier: Float32[Array, "C D"],
  *,
  projection: Projection,
  inverse_temperature: float,
  fraction: float,
  mesh: Mesh,
) -> Guess:
  """Pseudo-labels by a text classifier, softmax(tau view . text).

  Args:
    views: unit rows; view 0 is the center crop.
    classifier: unit rows, before training.
    projection: gives the trained classifier.
    inverse_temperature: tau, 100 for CLIP.
    fraction: of the views to keep.
    mesh: the devices.
  """
  shared = (
    projection.classifier(jnp.asarray(classifier)),
    np.float32(inverse_temperature),
    np.zeros(num_kept(views.shape[1], fraction), np.int8),
  )
  scores, labels, entropies = map_rows(
    _by_text, (views,), shared, mesh=mesh, block=_BLOCK
  )
  return Guess(scores=scores, labels=labels, entropies=entropies)


def pseudo_labels(
  scores: Float32[np.ndarray, "N V C"], *, fraction: float
) -> Guess:
  """Pseudo-labels from probabilities of any kind, for each view."""
  kept = num_kept(scores.shape[1], fraction)
  labels, entropies = _surest(jnp.asarray(scores), kept)
  return Guess(
    scores=np.asarray(scores[:, 0]),
    labels=np.asarray(labels),
    entropies=np.asarray(entropies),
  )


def num_kept(num_views: int, fraction: float) -> int:
  """How many views are averaged: at least one.

  Raises:
    ValueError: fraction is not in (0, 1].
  """
  if not 0 < fraction <= 1:
    raise ValueError(f"fraction must be in (0, 1]; got {fraction}.")
  return max(1, int(num_views * fraction))


def _by_text(shared, views):
  classifier, inverse_temperature, kept = shared
  cosines = jnp.einsum(
    "bvd,cd->bvc", views.astype(jnp.float32), classifier, precision="highest"
  )
  scores = probabilities(cosines, inverse_temperature=inverse_temperature)
  return scores[:, 0], *_surest(scores, len(kept))


def _surest(
  scores: Float[Array, "B V C"], kept: int
) -> tuple[jax.Array, jax.Array]:
  """The class and entropy of the mean of the `kept` surest views."""
  entropies = -jnp.sum(scores * jnp.log(scores + 1e-6), axis=-1)
  chosen = jnp.argsort(entropies, axis=1, stable=True)[:, :kept]
  mean = jnp.mean(
    jnp.take_along_axis(scores, chosen[..., None], axis=1), axis=1
  )
  entropy = -jnp.sum(mean * jnp.log(mean + 1e-8), axis=-1)
  return jnp.argmax(mean, axis=-1).astype(jnp.int32), entropy
