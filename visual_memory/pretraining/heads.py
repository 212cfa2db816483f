"""Projection heads that stand on a backbone during pretraining only.

Reference: Caron et al. 2021, appendix C, and the released code (DINOHead).
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from visual_memory.encoders.layers import Linear, dot, gelu
from visual_memory.types import Array

_NORM_EPS = 1e-12


class ProjectionHead(nnx.Module):
  """Three linear layers with GELU between, and a result of unit length."""

  def __init__(self, dim: int, *, hidden: int, out: int, rngs: nnx.Rngs):
    """From dim values to out; kernels truncated normal of deviation 0.02."""
    self.fc1 = Linear(dim, hidden, rngs=rngs)
    self.fc2 = Linear(hidden, hidden, rngs=rngs)
    self.fc3 = Linear(hidden, out, rngs=rngs)

  def __call__(
    self, x: Float[Array, "B D"], *, precision: str
  ) -> Float[jax.Array, "B E"]:
    """Unit rows."""
    x = gelu(self.fc1(x, precision=precision, hidden=True))
    x = gelu(self.fc2(x, precision=precision, hidden=True))
    return normalized(self.fc3(x, precision=precision), axis=-1)


class DinoHead(nnx.Module):
  """A projection head, then its similarity to each of K prototypes.

  The last layer is weight-normalized with its gain fixed at one: prototypes
  are the directions of the columns of `prototypes`, which alone are trained.
  """

  def __init__(
    self,
    dim: int,
    *,
    hidden: int,
    bottleneck: int,
    prototypes: int,
    rngs: nnx.Rngs,
  ):
    """The prototypes are uniform in +-1 / sqrt(bottleneck)."""
    self.mlp = ProjectionHead(dim, hidden=hidden, out=bottleneck, rngs=rngs)
    bound = 1 / math.sqrt(bottleneck)
    self.prototypes = nnx.Param(
      jax.random.uniform(
        rngs.params(), (bottleneck, prototypes), minval=-bound, maxval=bound
      )
    )

  def __call__(
    self, x: Float[Array, "B D"], *, precision: str
  ) -> Float[jax.Array, "B K"]:
    """Logits in [-1, 1], in float32."""
    directions = normalized(self.prototypes[...], axis=0)
    rows = self.mlp(x, precision=precision)
    return dot(rows, directions, (((1,), (0,)), ((), ())), precision=precision)


def normalized(x: Float[Array, "..."], *, axis: int) -> jax.Array:
  """x divided by its length along an axis (at least 1e-12).

  The gradient at zero is zero, not NaN.
  """
  squares = jnp.sum(x * x, axis=axis, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squares, _NORM_EPS**2))
