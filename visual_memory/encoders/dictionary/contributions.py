"""Which places of an image an embedding's similarity to a direction comes from.

  maps = contributions(encoder.apply, params, pixels, rows)    # [B, T, T]
  maps.sum(axis=(1, 2))              # the cosines of images and rows, exactly

For a dictionary of patches, whose embedding is a sum over places up to one
square root: nothing is approximated, and no gradient is taken. The square root
of a cell's mean response m is m / sqrt(m), of which every place has its part;
what the usual response takes away is spread evenly over the cell.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32

from visual_memory.encoders.dictionary.patch_dictionary import (
  PatchDictionary,
  dense_responses,
)
from visual_memory.types import Array


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
