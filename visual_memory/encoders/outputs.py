"""What a vision transformer says of its images; ways to pool it, by name."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from visual_memory.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTOutputs:
  """What a vision transformer says about a batch of images, in float32.

  Attributes:
    embedding: what the model pools its tokens to, projected where it has a
      projection (CLIP), [B, E]. Not normalized.
    class_token: after the final LayerNorm, [B, D]; of a model without one, the
      embedding.
    patch_tokens: after the final LayerNorm, row by row, [B, P, D].
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
