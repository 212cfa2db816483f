"""Scores a backbone by its nearest neighbors among labelled images.

  evaluate = knn_evaluation(recipe, source, ks=(10, 20))
  evaluate(params)           # {"knn_10": 0.41, "knn_20": 0.42, "score": 0.42}

Each image is classified by the others (leave-one-out), with the rank voter.
Give it tuning rows: the best checkpoint is chosen by its score.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from visual_memory.data.image_source import ImageSource
from visual_memory.data.preprocess import square
from visual_memory.encoders.embedding.embed import embed
from visual_memory.encoders.encoder import Encoder, make_encoder
from visual_memory.encoders.parts import vit_parts
from visual_memory.memory.memory import VisualMemory
from visual_memory.pretraining.recipe import Recipe
from visual_memory.retrieval.exact import search
from visual_memory.voting.vote import vote


def knn_evaluation(
  recipe: Recipe,
  source: ImageSource,
  *,
  ks: Sequence[int],
  mesh: Mesh,
) -> Callable[[Any], dict[str, float]]:
  """A function from a backbone's params to accuracies.

  Args:
    recipe: says what the params belong to.
    source: labelled images, at least max(ks) + 1.
    ks: numbers of neighbors; the score is the accuracy at the best of them.
    mesh: the devices.
  """

  def evaluate(params: Any) -> dict[str, float]:
    embedded = embed(
      backbone_encoder(recipe, params), source, mesh=mesh, progress=False
    )
    memory = VisualMemory.from_embedded(embedded, mesh=mesh)
    near = search(
      embedded.embeddings, memory, k=max(ks), exclude_self=embedded.ids
    )
    votes = vote(near, voter="rank", ks=ks, num_classes=embedded.num_classes)
    right = np.mean(votes.predictions == embedded.labels[None], axis=1)
    scores = {f"knn_{k}": float(x) for k, x in zip(ks, right, strict=True)}
    return {**scores, "score": max(scores.values())}

  return evaluate


def backbone_encoder(recipe: Recipe, params: Any) -> Encoder:
  """The encoder of a backbone's params at the size of its global views."""
  parts = vit_parts(
    jax.tree.map(np.asarray, params),
    recipe.backbone,
    preprocess=square(recipe.views.global_size),
    precision="float32",
    pooling=recipe.pooling,
  )
  return make_encoder("pretraining", parts)
