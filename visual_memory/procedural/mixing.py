"""Mixing pictures: plain means, and Shaders Mixup's random weights.

mixed = mixup(images, partners)                      # the mean of two
mixed = weighted_mean(groups, dirichlet_weights(keys, num=6))
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from visual_memory.types import Array

NUM_SHADERS_MIXED = 6
"""Pictures in one of Shaders Mixup's."""


def mixup(
  images: Float[Array, "*B S S 3"], partners: Float[Array, "*B S S 3"]
) -> Float[Array, "*B S S 3"]:
  """The plain mean of two pictures (or of two batches): Mixup with N = 2."""
  return 0.5 * (images + partners)


def dirichlet_weights(keys: jax.Array, *, num: int) -> Float[Array, "B n"]:
  """Weights that sum to 1, uniform over all such weights, for each key.

  Dirichlet(1, ..., 1): exponential numbers over their sum.
  """
  waits = jax.vmap(lambda key: jax.random.exponential(key, (num,)))(keys)
  return waits / jnp.sum(waits, axis=1, keepdims=True)


def weighted_mean(
  groups: Float[Array, "n B S S 3"], weights: Float[Array, "B n"]
) -> Float[Array, "B S S 3"]:
  """The mean over each group: one weight for each whole picture.

  Reference: Baradad et al., "Procedural Image Programs for Representation
  Learning" (NeurIPS 2022), Shaders 6-Mixup; weights from Dirichlet(1 x 6).
  """
  # Sums in a fixed order: the same bits whatever the batch.
  shares = weights.T[:, :, None, None, None]
  mixed = groups[0] * shares[0]
  for image, share in zip(groups[1:], shares[1:], strict=True):
    mixed = mixed + image * share
  return mixed
