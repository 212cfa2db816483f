"""What may come before the patches of a small vision transformer."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from visual_memory.encoders.layers import LayerNorm, Linear, gelu
from visual_memory.types import Array


class ConvStem(nnx.Module):
  """Strided convolutions before the patches of a small ViT.

  Each is 3 x 3 with stride 2 and halves both sides; LayerNorm over channels
  (which, unlike batch normalization, treats every image alone) and GELU follow.

  Reference: Xiao et al., "Early convolutions help transformers see better"
  (2021).
  """

  def __init__(self, channels: tuple[int, ...], *, eps: float, rngs: nnx.Rngs):
    """channels are those of the result of each convolution."""
    sources = (3, *channels[:-1])
    self.convs = nnx.List(
      Linear(9 * source, target, rngs=rngs)
      for source, target in zip(sources, channels, strict=True)
    )
    self.norms = nnx.List(LayerNorm(target, eps=eps) for target in channels)

  def __call__(
    self, pixels: Float[Array, "B H W 3"], *, precision: str
  ) -> Float[jax.Array, "B h w C"]:
    """The feature map, h = H / 2 ** len(channels)."""
    for conv, norm in zip(self.convs, self.norms, strict=True):
      pixels = gelu(norm(conv(_windows(pixels), precision=precision)))
    return pixels


def _windows(pixels: jax.Array) -> jax.Array:
  """Every second 3 x 3 window as one row of 9 C values, zeros outside."""
  _, height, width, _ = pixels.shape
  padded = jnp.pad(pixels, [(0, 0), (1, 1), (1, 1), (0, 0)])
  return jnp.concatenate(
    [
      padded[:, row : row + height : 2, column : column + width : 2]
      for row in range(3)
      for column in range(3)
    ],
    axis=-1,
  )
