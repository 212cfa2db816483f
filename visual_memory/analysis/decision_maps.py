"""Where an image is similar to the rows it was found by, place by place.

  maps = decision_maps(encoder, pixels, rows)     # [B, h, w], or None

For vision transformers gradient-weighted class activation (`grad_cam`) of the
similarity; for a dictionary of patches the exact part of every place in it
(`contributions`). Other encoders have no such map.

Reference: procedural-data paper, Fig. 17, of the class scores of linear
decoding; here of the memory's own rows, so that nothing is trained.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from visual_memory.encoders.dictionary.contributions import contributions
from visual_memory.encoders.dictionary.patch_dictionary import PatchDictionary
from visual_memory.encoders.encoder import Encoder, unit_rows
from visual_memory.encoders.grad_cam import grad_cam
from visual_memory.encoders.outputs import POOLINGS
from visual_memory.encoders.parts import ViTApply
from visual_memory.types import Array, EmbeddedSet, Neighbors


def neighbor_directions(
  near: Neighbors, embedded: EmbeddedSet
) -> Float32[np.ndarray, "Q D"]:
  """The mean of the rows of each query's neighbors.

  Its product with the query is the mean of their similarities.

  Args:
    near: neighbors in a memory.
    embedded: that memory's rows, in any order.
  """
  place = {row_id: row for row, row_id in enumerate(embedded.ids)}
  rows = embedded.embeddings[
    [[place[row_id] for row_id in ids] for ids in near.ids]
  ]
  return rows.mean(axis=1, dtype=np.float64).astype(np.float32)


def decision_maps(
  encoder: Encoder,
  pixels: Float[Array, "B S S 3"],
  directions: Float[Array, "B D"],
) -> Float32[np.ndarray, "B h w"] | None:
  """How much each place speaks for the similarity with a direction.

  Args:
    encoder: whose embeddings the directions are made of.
    pixels: preprocessed images.
    directions: one for each image.

  Returns:
    Of a vision transformer in [0, 1], each map to its own scale, one value for
    each patch. Of a dictionary of either sign, adding up to the similarity, one
    value for each pixel in the middle of a window. None for an encoder of
    another kind.
  """
  apply = encoder.apply
  pixels, directions = jnp.asarray(pixels), jnp.asarray(directions)
  if isinstance(apply, PatchDictionary):
    run = jax.jit(contributions, static_argnums=0)
    maps = np.asarray(run(apply, encoder.params, pixels, directions))
    before = (apply.patch - 1) // 2
    margins = (before, apply.patch - 1 - before)
    return np.pad(maps, ((0, 0), margins, margins))
  if not isinstance(apply, ViTApply):
    return None

  def similarity(outputs) -> jax.Array:
    rows = unit_rows(POOLINGS[apply.pooling](outputs))
    return jnp.sum(rows * directions, axis=1)

  return np.asarray(
    grad_cam(encoder.params, apply.config, pixels, readout=similarity)
  )
