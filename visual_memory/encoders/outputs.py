"""What a vision transformer says of its images, ways to pool it, unit rows."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Float32

from visual_memory.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTOutputs:
  """What a vision transformer says about a batch of images, in float32.

  Attributes:
    embedding: what the model pools its tokens to, projected where it has a
      projection (CLIP), [B, E]. Not normalized.
    class_token: after the final LayerNorm, [B, D]; of a model without one, the
      embedding; of a ResNet, the mean of its grid.
    patch_tokens: after the final LayerNorm, row by row, [B, P, D]; P may be
      zero where they were not asked for. Of a ResNet, its grid before the pool.
    register_tokens: after the final LayerNorm, [B, R, D]; R may be zero.
    blocks: for each block asked for, all its output tokens (class, registers,
      patches) after the final LayerNorm, [B, 1 + R + P, D].
    attention: for each block asked for, softmax weights [B, heads, T, T],
      T = 1 + R + P, where row t says what token t looks at.
  """

  embedding: Float[Array, "*B E"]
  class_token: Float[Array, "*B D"]
  patch_tokens: Float[Array, "*B P D"]
  register_tokens: Float[Array, "*B R D"]
  blocks: dict[int, jax.Array]
  attention: dict[int, jax.Array]


def class_token(outputs: ViTOutputs) -> jax.Array:
  """The model's own embedding: for most the class token, [B, E]."""
  return outputs.embedding


def mean_patch(outputs: ViTOutputs) -> jax.Array:
  """The mean of the patch tokens, [B, D]."""
  return jnp.mean(outputs.patch_tokens, axis=1)


def class_and_mean(outputs: ViTOutputs) -> jax.Array:
  """Class token and mean patch token side by side, [B, E + D]."""
  return jnp.concatenate([class_token(outputs), mean_patch(outputs)], axis=-1)


POOLINGS: dict[str, Callable[[ViTOutputs], jax.Array]] = {
  "class": class_token,
  "mean": mean_patch,
  "class_and_mean": class_and_mean,
}
"""Ways to pool, by the name that recipes and cards use."""


def unit_rows(rows: Float[Array, "*B D"]) -> Float32[Array, "*B D"]:
  """Each row divided by its length, in float32; a zero row stays zero.

  Rows are first divided by their largest entry, so that squares neither
  overflow nor vanish. Squares are summed in pairs, an order that belongs to D
  alone: the bits do not depend on the number of rows, as those of a reduction
  do. A row with NaN or infinity gets NaN.
  """
  rows = rows.astype(jnp.float32)
  # What rows are divided by first cancels and has no gradient. A maximum's is
  # NaN where a compiler computes a row twice and rounds it two ways.
  largest = lax.stop_gradient(jnp.max(jnp.abs(rows), axis=-1, keepdims=True))
  rows = rows / jnp.where(largest == 0, 1, largest)
  squares = _pairwise_sums(rows * rows)
  return rows / jnp.sqrt(jnp.where(squares == 0, 1, squares))


def _pairwise_sums(values: Float32[Array, "*B D"]) -> Float32[Array, "*B 1"]:
  """The sum of each row by halving: first half plus second half, again."""
  width = values.shape[-1]
  padded = 1 << (width - 1).bit_length()
  widths = [(0, 0)] * (values.ndim - 1) + [(0, padded - width)]
  values = jnp.pad(values, widths)
  while values.shape[-1] > 1:
    half = values.shape[-1] // 2
    values = values[..., :half] + values[..., half:]
  return values
