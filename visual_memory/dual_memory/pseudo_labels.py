"""Pseudo-labels: which class the surest views of an image name, and how surely.

  guess = pseudo_labels(scores, fraction=0.1)        # scores [N, V, C]
  guess.labels, guess.entropies

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), section 3.2, after
Shu et al., "Test-Time Prompt Tuning" (NeurIPS 2022): of V views the tenth of
lowest entropy is averaged. The constants inside the logarithms are those of the
released code, which takes none of fewer than ten views; here it is one.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float32, Int32

from visual_memory.distributed import map_rows
from visual_memory.dual_memory.projections import Projection
from visual_memory.dual_memory.reading import probabilities
from visual_memory.types import Array

_BLOCK = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabels:
  """What a head says about N images; host arrays.

  Attributes:
    scores: probabilities by the first view alone, [N, C].
    labels: the class of the surest views' average, [N].
    entropies: of that average, in nats, [N].
  """

  scores: Float32[np.ndarray, "N C"]
  labels: Int32[np.ndarray, "N"]
  entropies: Float32[np.ndarray, "N"]


def text_pseudo_labels(
  views: Float[np.ndarray, "N V D"],
  classifier: Float32[Array, "C D"],
  *,
  projection: Projection,
  inverse_temperature: float,
  fraction: float,
  mesh: Mesh,
) -> PseudoLabels:
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
  return PseudoLabels(scores=scores, labels=labels, entropies=entropies)


def pseudo_labels(
  scores: Float32[np.ndarray, "N V C"], *, fraction: float
) -> PseudoLabels:
  """Pseudo-labels from probabilities of any head, for each view."""
  kept = num_kept(scores.shape[1], fraction)
  labels, entropies = _surest(jnp.asarray(scores), kept)
  return PseudoLabels(
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
