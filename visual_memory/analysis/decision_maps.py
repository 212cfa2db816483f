"""Where an image is similar to the rows it was found by, place by place.

  maps = decision_maps(encoder, pixels, rows)     # [B, h, w], or None

For vision transformers gradient-weighted class activation (`grad_cam`) of the
similarity; for a dictionary of patches the exact part of every place in it
(`contributions`). Other encoders have no such map.

Nothing is approximated in a dictionary's, and no gradient is taken: the square
root of a cell's mean response m is m / sqrt(m), of which every place has its
part; what the usual response takes away is spread evenly over the cell.

Reference: procedural-data paper, Fig. 17 (layer unpublished), of the class
scores of linear decoding; here of the memory's own rows, so that nothing is
trained. Selvaraju et al., ICCV 2017: for a ViT, as usual, the output of the
last block's first norm, class token and registers left out.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from visual_memory.encoders import vit
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.outputs import POOLINGS, ViTOutputs, unit_rows
from visual_memory.encoders.parts import ViTApply
from visual_memory.encoders.patch_dictionary import (
  PatchDictionary,
  dense_responses,
)
from visual_memory.encoders.patch_grid import patch_grid
from visual_memory.encoders.settings import ViTConfig
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

  return np.asarray(
    grad_cam(
      encoder.params,
      apply.config,
      pixels,
      directions,
      readout=_similarity(apply.pooling),
    )
  )


@functools.cache  # The same function again: nothing is compiled anew.
def _similarity(pooling: str) -> Callable[..., jax.Array]:
  """A readout: the similarity with a direction for each image."""

  def readout(outputs: ViTOutputs, directions: jax.Array) -> jax.Array:
    rows = unit_rows(POOLINGS[pooling](outputs))
    return jnp.sum(rows * directions, axis=1)

  return readout


@functools.partial(jax.jit, static_argnums=1, static_argnames="readout")
def grad_cam(
  params: dict,
  config: ViTConfig,
  pixels: Float[Array, "B S S 3"],
  *given: Array,
  readout: Callable[..., jax.Array],
) -> Float32[jax.Array, "B h w"]:
  """What speaks for a score, patch by patch, each map scaled to [0, 1].

  relu(sum over channels of activation * mean gradient), less its minimum and
  over its maximum; all zero where nothing speaks for the score.

  Args:
    params: of the vision transformer.
    config: its settings.
    pixels: preprocessed images.
    given: what else the readout is told.
    readout: a score for each image, [B], from what the model says and what is
      given: a class's logit, the similarity with a row of the memory. Each
      function is compiled once.
  """

  def score(shift: jax.Array) -> tuple[jax.Array, jax.Array]:
    model = vit.module(params, config)
    norm, seen = model.blocks[-1].norm1, []

    def shifted(tokens: jax.Array) -> jax.Array:
      seen.append(norm(tokens) + shift)
      return seen[-1]

    model.blocks[-1].norm1 = shifted
    return jnp.sum(readout(model(pixels), *given)), seen[0]

  first_patch = 1 + config.num_registers
  rows, columns = patch_grid(pixels.shape[1:3], config.patch_size)
  tokens = first_patch + rows * columns
  zeros = jnp.zeros((len(pixels), tokens, config.dim), jnp.float32)
  gradients, activations = jax.grad(score, has_aux=True)(zeros)
  gradients, activations = (
    values[:, first_patch:] for values in (gradients, activations)
  )
  weights = jnp.mean(gradients, axis=1, keepdims=True)  # [B, 1, D]
  maps = jax.nn.relu(jnp.sum(weights * activations, axis=-1))
  maps = maps - jnp.min(maps, axis=1, keepdims=True)
  highest = jnp.max(maps, axis=1, keepdims=True)
  maps = maps / jnp.where(highest > 0, highest, 1)
  return maps.reshape(-1, rows, columns)


def contributions(
  apply: PatchDictionary,
  params: Any,
  pixels: Float[Array, "B S S 3"],
  directions: Float[Array, "B D"],
) -> Float32[jax.Array, "B T T"]:
  """What each window of each image adds to its product with a direction.

  Args:
    apply: the encoder's function.
    params: its params.
    pixels: preprocessed images.
    directions: one for each image; a unit row makes the sum a cosine.

  Returns:
    Of either sign, by the top left corner of the window, T = S - patch + 1.
    All zero for an image whose embedding is zero.
  """
  found = dense_responses(
    params, pixels, patch=apply.patch, threshold=apply.threshold
  )
  embeddings = apply(params, pixels)
  lengths = jnp.linalg.norm(embeddings, axis=1, keepdims=True)
  directions = directions / jnp.where(lengths == 0, 1, lengths)
  say = jnp.matmul(  # Of every cell and word, [B, G * G * K].
    directions, params["projection"].T, precision=jax.lax.Precision.HIGHEST
  )
  spans, size = apply.spans(found.shape[1]), found.shape[-1]
  say = say.reshape(len(found), apply.grid, apply.grid, size)
  usual = jnp.asarray(params["mean"]).reshape(apply.grid, apply.grid, size)
  rows = []
  for i, (top, bottom) in enumerate(spans):
    cells = [
      _cell(found[:, top:bottom, left:right], say[:, i, j], usual[i, j])
      for j, (left, right) in enumerate(spans)
    ]
    rows.append(jnp.concatenate(cells, axis=2))
  return jnp.concatenate(rows, axis=1)


def _cell(
  found: jax.Array, say: jax.Array, usual: jax.Array
) -> Float32[jax.Array, "B h w"]:
  """The parts of one cell's places, [B, h, w, K] and [B, K] -> [B, h, w]."""
  count = found.shape[1] * found.shape[2]
  means = jnp.mean(found, axis=(1, 2))
  roots = jnp.sqrt(jnp.where(means > 0, means, 1))
  highest = jax.lax.Precision.HIGHEST
  parts = jnp.einsum("bhwk,bk->bhw", found, say / roots, precision=highest)
  away = jnp.matmul(say, usual, precision=highest)
  return (parts - away[:, None, None]) / count
