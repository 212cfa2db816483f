"""A vision transformer and a dictionary of patches, side by side.

Both see the same picture, the dictionary at the size for which it was learned;
their unit embeddings are laid next to each other, so that the similarity of two
pictures is the weighted mean of both similarities. The dictionary knows small
pictures by their texture and color, the transformer knows parts of larger ones.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from visual_memory.encoders.dictionary.patch_dictionary import PatchDictionary
from visual_memory.types import Array


@dataclasses.dataclass(frozen=True)
class BesideDictionary:
  """The pure function from params and pixels to embeddings, by its settings.

  Attributes:
    vit: the transformer's own function.
    dictionary: the dictionary's.
    side: of the pictures for which it was learned, in pixels.
    weight: of the transformer's embedding, whose square is its similarity's
      weight beside the dictionary's 1.
    mean: what was subtracted from the pixels, per channel.
    std: what they were divided by.
  """

  vit: Callable[..., jax.Array]
  dictionary: PatchDictionary
  side: int
  weight: float
  mean: tuple[float, float, float]
  std: tuple[float, float, float]

  def __call__(
    self, params: Any, pixels: Float[Array, "B S S 3"]
  ) -> Float[jax.Array, "B D"]:
    """Embeddings, the dictionary's first, not normalized.

    Args:
      params: "vit" and "dictionary".
      pixels: normalized; S is a multiple of `side`.
    """
    mean, std = jnp.asarray(self.mean), jnp.asarray(self.std)
    plain = pixels * std[None, None, None] + mean[None, None, None]
    factor = pixels.shape[1] // self.side
    split = plain.reshape(-1, self.side, factor, self.side, factor, 3)
    words = self.dictionary(params["dictionary"], jnp.mean(split, axis=(2, 4)))
    tokens = self.vit(params["vit"], pixels)
    return jnp.concatenate([_unit(words), self.weight * _unit(tokens)], axis=-1)


def _unit(rows: jax.Array) -> jax.Array:
  """Rows of unit length; a row of zeros stays one."""
  squares = jnp.sum(rows * rows, axis=-1, keepdims=True)
  return rows * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
