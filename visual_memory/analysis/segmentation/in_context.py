"""Segmentation from one prompt: a picture with a mask says what to look for.

  found = attend(prompt, prompt_mask, query)       # [H', W'] in [0, 1]

Every patch of the query copies mask patches of the prompt: all of them by
their attention, or that of its nearest patch.

Reference: procedural-data paper, Fig. 10: softmax over the prompt's patches of
z1.z2 / D (not its square root), raw last-layer tokens, maps cut at 0.2. That is
flat for tokens much shorter than sqrt(D), which the last LayerNorm of a vision
transformer makes and other encoders do not: `temperature` is for all.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from visual_memory.types import Array

PUBLISHED_CUT = 0.2


@functools.partial(jax.jit, static_argnames="nearest")
def attend(
  prompt: Float[Array, "h w D"],
  mask: Float[Array, "H W"],
  query: Float[Array, "h w D"],
  *,
  nearest: bool = False,
  temperature: float | jax.Array | None = None,
) -> Float32[jax.Array, "H W"]:
  """The mask of the prompt, carried over to the query.

  Args:
    prompt: features of the prompt's patches.
    mask: its mask in [0, 1]; H and W are whole multiples of h and w.
    query: features of the query's patches.
    nearest: copy the mask of the most similar patch (cosine; ties: the first)
      in place of the softmax of all.
    temperature: the softmax of cosines divided by it, in place of the
      published one of products.

  Raises:
    ValueError: a mask that is not a whole number of pixels per patch.
  """
  rows, columns, dim = prompt.shape
  height, width = mask.shape
  if height % rows or width % columns:
    raise ValueError(
      f"A mask of {height}x{width} pixels does not divide into {rows}x{columns}"
      " patches: resize it."
    )
  cell = (height // rows, width // columns)
  patches = mask.reshape(rows, cell[0], columns, cell[1]).swapaxes(1, 2)
  patches = patches.reshape(rows * columns, -1)  # [P, pixels]
  keys, queries = prompt.reshape(-1, dim), query.reshape(-1, dim)
  if nearest or temperature is not None:
    keys, queries = _unit(keys), _unit(queries)
  scores = jnp.matmul(queries, keys.T, precision=jax.lax.Precision.HIGHEST)
  if nearest:
    found = patches[jnp.argmax(scores, axis=1)]
  else:
    scale = dim if temperature is None else temperature
    found = jnp.matmul(
      jax.nn.softmax(scores / scale, axis=1),
      patches,
      precision=jax.lax.Precision.HIGHEST,
    )
  found = found.reshape(rows, columns, *cell).swapaxes(1, 2)
  return found.reshape(height, width).astype(jnp.float32)


def cut(
  found: Float[np.ndarray, "*shape"], *, threshold: float
) -> Float[np.ndarray, "*shape"]:
  """The part of a map above a threshold, stretched to [0, 1] again."""
  return np.maximum(found - threshold, 0) / (1 - threshold)


def _unit(rows: jax.Array) -> jax.Array:
  lengths = jnp.linalg.norm(rows, axis=1, keepdims=True)
  return rows / jnp.where(lengths == 0, 1, lengths)
