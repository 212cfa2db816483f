"""From the tokens of an image to one embedding, by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from visual_memory.encoders.vit import ViTOutputs


def class_token(outputs: ViTOutputs) -> jax.Array:
  """The class token (projected, where the model has a projection), [B, E]."""
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
