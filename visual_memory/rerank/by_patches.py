"""A re-ranker that needs no network: patches of the query look for their like.

  local = LocalReranker(encoder=encoder, num_classes=10, patch=4, settings=...)
  local, accuracy = local.tuned(tune_questions, tune_labels, candidates)
  answers = local(questions, repeats=1)

Every patch token of the query attends to the patch tokens of a neighbor; how
alike they are, averaged, says how well the neighbor explains the query. Where
an embedding compares whole pictures, this compares parts, wherever they are.
Vision transformers give their own patch tokens; for other encoders the pixels
of each patch are its token.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from visual_memory.encoders import resnet, vit
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.parts import MultiCrop, ViTApply
from visual_memory.encoders.patch_grid import patchify
from visual_memory.encoders.resnet import ResNetApply
from visual_memory.rerank.rerank import Answer, Question
from visual_memory.types import Array

_QUESTIONS = 16
"""Questions whose tokens are held at once."""

_IMAGES = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalSettings:
  """What is tuned.

  Attributes:
    attention: temperature of a patch's attention; the lower, the more it looks
      at the best match alone.
    share: of the match in a neighbor's score, in [0, 1]; the rest is the
      similarity of the embeddings.
    temperature: of the softmax over neighbors.
  """

  attention: float
  share: float
  temperature: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalReranker:
  """Scores neighbors by cross-attention of patches, then lets them vote.

  Attributes:
    encoder: makes the tokens.
    num_classes: C.
    patch: side of a patch, for encoders that are no vision transformers.
    settings: see LocalSettings.
  """

  encoder: Encoder
  num_classes: int
  patch: int
  settings: LocalSettings

  def __call__(
    self, questions: Sequence[Question], *, repeats: int
  ) -> list[list[Answer]]:
    """The answers, the same in every repeat."""
    predictions = self._predict(questions, [self.settings])[0]
    answers = [Answer(label=int(label), status="ok") for label in predictions]
    return [answers] * repeats

  def tuned(
    self,
    questions: Sequence[Question],
    labels: Int[np.ndarray, "n"],
    candidates: Sequence[LocalSettings],
  ) -> tuple["LocalReranker", float | None]:
    """The re-ranker with the settings of most right answers, and their share.

    Of equals the first is taken, as where there is no question at all.

    Args:
      questions: about tuning queries.
      labels: their classes.
      candidates: to choose from.
    """
    if not len(questions):
      return dataclasses.replace(self, settings=candidates[0]), None
    predictions = self._predict(questions, candidates)
    accuracy = [float(np.mean(found == labels)) for found in predictions]
    best = int(np.argmax(accuracy))
    tuned = dataclasses.replace(self, settings=candidates[best])
    return tuned, accuracy[best]

  def _predict(self, questions, candidates) -> list[np.ndarray]:
    """The class that each candidate names for each question."""
    found = [[] for _ in candidates]
    for part, tokens in self._groups(questions):
      matches = {
        attention: np.asarray(
          match(tokens[:, 0], tokens[:, 1:], temperature=attention)
        )
        for attention in dict.fromkeys(c.attention for c in candidates)
      }
      for place, candidate in enumerate(candidates):
        for question, scores in zip(
          part, matches[candidate.attention], strict=False
        ):
          found[place].append(self._vote(question, scores, candidate))
    return [np.asarray(labels, np.int32) for labels in found]

  def _vote(self, question, scores, settings) -> int:
    """The class with the largest sum of softmax weights."""
    mixed = (
      settings.share * scores + (1 - settings.share) * question.similarities
    )
    weights = np.exp((mixed - mixed.max()) / settings.temperature)
    sums = np.bincount(
      question.neighbor_labels, weights, minlength=self.num_classes
    )
    return int(np.argmax(sums))

  def _groups(self, questions) -> Iterator[tuple[list[Question], jax.Array]]:
    """Some questions and the tokens of their images, [16, 1 + k, P, D]."""
    for start in range(0, len(questions), _QUESTIONS):
      part = list(questions[start : start + _QUESTIONS])
      padded = part + [part[-1]] * (_QUESTIONS - len(part))
      images = [i for q in padded for i in (q.image, *q.neighbor_images)]
      tokens = np.concatenate([
        patch_tokens(self.encoder, images[first : first + _IMAGES],
                     patch=self.patch)
        for first in range(0, len(images), _IMAGES)
      ])  # fmt: skip
      yield part, tokens.reshape(_QUESTIONS, -1, *tokens.shape[1:])


def patch_tokens(
  encoder: Encoder, images: Sequence[np.ndarray], *, patch: int
) -> Float[np.ndarray, "B P D"]:
  """Unit tokens of the patches of up to 32 images, row by row.

  Args:
    encoder: whose tokens, or whose preprocessed pixels, are taken.
    images: uint8 [H, W, 3].
    patch: side of a patch, where the encoder is no network.

  Raises:
    ValueError: an encoder of several crops, which share no patches.
  """
  if isinstance(encoder.apply, MultiCrop):
    raise ValueError(
      f"The encoder {encoder.name!r} has {encoder.apply.crops} crops, and"
      " patches are compared of one: leave crops out."
    )
  pixels = np.stack([encoder.preprocess(image) for image in images])
  padding = [(0, _IMAGES - len(pixels))] + [(0, 0)] * 3
  tokens = _tokens(
    encoder.apply, encoder.params, np.pad(pixels, padding), patch
  )
  return np.asarray(tokens)[: len(images)]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _tokens(apply, params, pixels, patch):
  network = {ViTApply: vit, ResNetApply: resnet}.get(type(apply))
  if network is not None:
    tokens = network.forward(
      params, pixels, config=apply.config, precision=apply.precision
    ).patch_tokens
  else:
    tokens = patchify(pixels, patch)
  lengths = jnp.linalg.norm(tokens, axis=-1, keepdims=True)
  return tokens / jnp.where(lengths == 0, 1, lengths)


@jax.jit
def match(
  queries: Float[Array, "B P D"],
  neighbors: Float[Array, "B k P D"],
  *,
  temperature: float | Array,
) -> Float[Array, "B k"]:
  """How well each neighbor's patches explain the query's, in [-1, 1].

  mean_p sum_r softmax_r(q_p . n_r / temperature) (q_p . n_r)

  Args:
    queries: unit tokens.
    neighbors: unit tokens of k neighbors each.
    temperature: of the attention.
  """

  def one(tokens):  # [B, P, D]: one neighbor of each query.
    alike = jnp.einsum("bpd,brd->bpr", queries, tokens, precision="highest")
    weights = jax.nn.softmax(alike / temperature, axis=-1)
    return jnp.mean(jnp.sum(weights * alike, axis=-1), axis=-1)

  return jax.lax.map(one, jnp.swapaxes(neighbors, 0, 1)).T
