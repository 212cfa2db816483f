"""Pictures that are not worth looking at: flat ones, and mere noise."""

import jax.numpy as jnp
from jaxtyping import Bool, Float

from visual_memory.types import Array

LEAST_CONTRAST = 0.07
"""A picture with a smaller standard deviation of brightness is flat."""

LEAST_LIKENESS = 0.6
"""A picture whose neighbors correlate less is noise."""


def is_flat(gray: Float[Array, "H W"]) -> Bool[Array, ""]:
  """Whether brightness hardly varies, over the picture or but for a corner."""
  center = gray - jnp.mean(gray)
  spread = jnp.sqrt(jnp.mean(center * center))
  quarter = gray.shape[0] // 4
  blocks = gray[: quarter * 4, : quarter * 4].reshape(4, quarter, 4, quarter)
  means = jnp.mean(blocks, axis=(1, 3), keepdims=True)
  inner = jnp.mean((blocks - means) ** 2, axis=(1, 3))
  # At least five of sixteen blocks have something to see.
  busy = jnp.sum(inner > 0.02**2)
  return (spread < LEAST_CONTRAST) | (busy < 5)


def is_noise(gray: Float[Array, "H W"]) -> Bool[Array, ""]:
  """Whether neighboring pixels have little to do with each other."""
  center = gray - jnp.mean(gray)
  power = jnp.mean(center * center) + 1e-6
  along_x = jnp.mean(center[:, 1:] * center[:, :-1]) / power
  along_y = jnp.mean(center[1:] * center[:-1]) / power
  return jnp.minimum(along_x, along_y) < LEAST_LIKENESS
