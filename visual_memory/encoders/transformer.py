"""The pre-norm transformer block that image and text towers are made of.

Tokens are [B, T, D]. The residual stream, LayerNorm and softmax are float32 in
both precisions:

  'float32'   every product at Precision.HIGHEST: the reference.
  'bfloat16'  operands of products rounded to bfloat16, accumulated in float32;
              hidden values between two products are held in bfloat16.

Measured on DINOv2's ViT-S/14, B/14 and L/14 at 224 pixels with random weights,
as 1 - cosine of the image embedding: float32 differs from a float64 forward by
1e-13, bfloat16 from float32 by 4e-6, 4e-6 and 6e-6. Neighbors whose
similarities differ by less than 1e-5 may therefore change places in bfloat16.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Float

from visual_memory.types import Array

PRECISIONS = ("float32", "bfloat16")
"""What `precision` may be."""

_kernel_init = nnx.initializers.truncated_normal(stddev=0.02)


class Linear(nnx.Module):
  """A linear map of the last axis: kernel [in, out] and, mostly, bias [out]."""

  def __init__(
    self, in_dim: int, out_dim: int, *, bias: bool = True, rngs: nnx.Rngs
  ):
    """Kernel truncated normal of deviation 0.02, bias zero."""
    self.kernel = nnx.Param(_kernel_init(rngs.params(), (in_dim, out_dim)))
    self.bias = nnx.Param(jnp.zeros(out_dim)) if bias else None

  def __call__(
    self, x: Float[Array, "*rows i"], *, precision: str, hidden: bool = False
  ) -> Float[jax.Array, "*rows o"]:
    """x @ kernel + bias, in float32.

    Args:
      x: rows.
      precision: see the module.
      hidden: the result goes into another product, so that in 'bfloat16' it
        need not leave the first one in float32.
    """
    y = dot(
      x,
      self.kernel[...],
      (((x.ndim - 1,), (0,)), ((), ())),
      precision=precision,
      hidden=hidden,
    )
    return y if self.bias is None else y + _row(self.bias, y.ndim)


class LayerNorm(nnx.Module):
  """Zero mean and unit variance over the last axis, then scale and bias.

  The variance is that of the centered values: the mean of squares minus the
  square of the mean would cancel where a few channels are large.
  """

  def __init__(self, dim: int, *, eps: float):
    """Scale one, bias zero."""
    self.scale = nnx.Param(jnp.ones(dim))
    self.bias = nnx.Param(jnp.zeros(dim))
    self.eps = eps

  def __call__(self, x: Float[Array, "*rows D"]) -> Float[jax.Array, "*rows D"]:
    """The normalized rows, in float32."""
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(x * x, axis=-1, keepdims=True)
    x = x * lax.rsqrt(variance + self.eps)
    return x * _row(self.scale, x.ndim) + _row(self.bias, x.ndim)


class Attention(nnx.Module):
  """Multi-head self-attention; q, k and v come from one fused kernel."""

  def __init__(self, dim: int, *, num_heads: int, rngs: nnx.Rngs):
    """The columns of qkv are q, k, v, each in order of heads."""
    self.qkv = Linear(dim, 3 * dim, rngs=rngs)
    self.proj = Linear(dim, dim, rngs=rngs)
    self.num_heads = num_heads

  def __call__(
    self,
    x: Float[Array, "B T D"],
    *,
    causal: bool,
    precision: str,
    maps: bool,
  ) -> tuple[Float[jax.Array, "B T D"], Float[jax.Array, "B h T T"] | None]:
    """The attended tokens and, if asked for, the attention maps."""
    batch, tokens, dim = x.shape
    qkv = self.qkv(x, precision=precision, hidden=True)
    qkv = qkv.reshape(batch, tokens, 3, self.num_heads, -1)
    fused = fused_attention()
    if fused and precision == "bfloat16" and not maps:
      q, k, v = jnp.moveaxis(qkv.astype(jnp.bfloat16), 2, 0)  # [B, T, h, d]
      mixed = jax.nn.dot_product_attention(
        q, k, v, is_causal=causal, implementation=fused
      )
      weights = None
    else:
      q, k, v = jnp.moveaxis(qkv, (2, 3), (0, 2))  # [B, h, T, d] each
      mixed, weights = attend(q, k, v, causal=causal, precision=precision)
      mixed = jnp.swapaxes(mixed, 1, 2)
    mixed = mixed.reshape(batch, tokens, dim)
    return self.proj(mixed, precision=precision), weights if maps else None


class Mlp(nnx.Module):
  """Two linear layers with an activation between."""

  def __init__(self, dim: int, *, hidden: int, act: str, rngs: nnx.Rngs):
    """act is a key of ACTIVATIONS."""
    self.fc1 = Linear(dim, hidden, rngs=rngs)
    self.fc2 = Linear(hidden, dim, rngs=rngs)
    self.act = act

  def __call__(
    self, x: Float[Array, "B T D"], *, precision: str
  ) -> Float[jax.Array, "B T D"]:
    """fc2(act(fc1(x)))."""
    hidden = ACTIVATIONS[self.act](
      self.fc1(x, precision=precision, hidden=True)
    )
    return self.fc2(hidden, precision=precision)


class SwiGlu(nnx.Module):
  """A gated layer: fc2(silu(a) * b), where [a, b] = fc1(x)."""

  def __init__(self, dim: int, *, hidden: int, rngs: nnx.Rngs):
    """hidden is the width of each half."""
    self.fc1 = Linear(dim, 2 * hidden, rngs=rngs)
    self.fc2 = Linear(hidden, dim, rngs=rngs)

  def __call__(
    self, x: Float[Array, "B T D"], *, precision: str
  ) -> Float[jax.Array, "B T D"]:
    """fc2(silu(a) * b)."""
    hidden = self.fc1(x, precision=precision, hidden=True)
    gate, value = jnp.split(hidden, 2, axis=-1)
    return self.fc2(jax.nn.silu(gate) * value, precision=precision)


class Block(nnx.Module):
  """x + attention(norm(x)), then x + ffn(norm(x)); see `ViTConfig`."""

  def __init__(
    self,
    dim: int,
    *,
    num_heads: int,
    mlp_dim: int,
    act: str = "gelu",
    ffn: str = "mlp",
    layer_scale: bool = False,
    eps: float = 1e-6,
    rngs: nnx.Rngs,
  ):
    """Arguments as the fields of ViTConfig."""
    self.norm1 = LayerNorm(dim, eps=eps)
    self.attn = Attention(dim, num_heads=num_heads, rngs=rngs)
    self.norm2 = LayerNorm(dim, eps=eps)
    self.mlp = (
      SwiGlu(dim, hidden=mlp_dim, rngs=rngs)
      if ffn == "swiglu"
      else Mlp(dim, hidden=mlp_dim, act=act, rngs=rngs)
    )
    self.scale1 = nnx.Param(jnp.ones(dim)) if layer_scale else None
    self.scale2 = nnx.Param(jnp.ones(dim)) if layer_scale else None

  def __call__(
    self,
    x: Float[Array, "B T D"],
    *,
    causal: bool = False,
    precision: str = "float32",
    maps: bool = False,
    branch_scales: Float[Array, "2 B"] | None = None,
  ) -> tuple[Float[jax.Array, "B T D"], Float[jax.Array, "B h T T"] | None]:
    """The tokens after the block and, if asked for, its attention maps.

    Args:
      x: tokens, float32.
      causal: whether a token sees only itself and those before it.
      precision: see the module.
      maps: whether attention maps are wanted.
      branch_scales: what each image's attention and mlp branches are multiplied
        by (stochastic depth in training); ones if None.
    """
    mixed, weights = self.attn(
      self.norm1(x), causal=causal, precision=precision, maps=maps
    )
    mixed = _scaled(mixed, self.scale1)
    if branch_scales is not None:
      mixed = mixed * branch_scales[0][:, None, None]
    x = x + mixed
    fed = _scaled(self.mlp(self.norm2(x), precision=precision), self.scale2)
    if branch_scales is not None:
      fed = fed * branch_scales[1][:, None, None]
    return x + fed, weights


def attend(
  q: Float[Array, "B h T d"],
  k: Float[Array, "B h T d"],
  v: Float[Array, "B h T d"],
  *,
  causal: bool,
  precision: str,
) -> tuple[Float[jax.Array, "B h T d"], Float[jax.Array, "B h T T"]]:
  """softmax(q k^T / sqrt(d)) v, and the softmax (free where it is not used).

  On a CPU this is faster than jax.nn.dot_product_attention: XLA makes one
  kernel of it.
  """
  heads = ((0, 1), (0, 1))
  scaled = q * q.shape[-1] ** -0.5
  scores = dot(scaled, k, (((3,), (3,)), heads), precision=precision)
  if causal:
    seen = jnp.tril(jnp.ones((1, 1, *scores.shape[2:]), bool))
    scores = jnp.where(seen, scores, -jnp.inf)
  scores = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
  total = jnp.sum(scores, axis=-1, keepdims=True)
  # Dividing after the product touches T * d values instead of T * T.
  mixed = dot(scores, v, (((3,), (2,)), heads), precision=precision) / total
  return mixed, scores / total


def fused_attention() -> str | None:
  """The fused bfloat16 attention of this hardware: 'cudnn' on NVIDIA GPUs."""
  is_cuda = "cuda" in jax.devices()[0].client.platform_version.lower()
  return "cudnn" if is_cuda else None


def dot(
  x: Array, y: Array, dimensions: tuple, *, precision: str, hidden: bool = False
) -> jax.Array:
  """lax.dot_general at a stated precision; see `Linear` for `hidden`."""
  if precision == "bfloat16":
    return _half_dot(x, y, dimensions, hidden)
  return lax.dot_general(x, y, dimensions, precision=lax.Precision.HIGHEST)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _half_dot(x: Array, y: Array, dimensions: tuple, hidden: bool) -> jax.Array:
  """A product of bfloat16 operands, in float32.

  Its gradient, too, is made of products of bfloat16 operands: JAX's own would
  multiply float32 cotangents, at a fraction of the speed.
  """
  return lax.dot_general(
    x.astype(jnp.bfloat16),
    y.astype(jnp.bfloat16),
    dimensions,
    preferred_element_type=jnp.bfloat16 if hidden else jnp.float32,
  ).astype(jnp.float32)


def _half_dot_forward(x, y, dimensions, hidden):
  operands = x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)
  return _half_dot(x, y, dimensions, hidden), operands


def _half_dot_backward(dimensions, hidden, operands, cotangent):
  del hidden
  _, transpose = jax.vjp(
    lambda x, y: lax.dot_general(x, y, dimensions), *operands
  )
  dx, dy = transpose(cotangent.astype(jnp.bfloat16))
  return dx.astype(jnp.float32), dy.astype(jnp.float32)


_half_dot.defvjp(_half_dot_forward, _half_dot_backward)


def quick_gelu(x: Float[Array, "..."]) -> Float[jax.Array, "..."]:
  """x * sigmoid(1.702 x): CLIP's activation."""
  return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: Float[Array, "..."]) -> Float[jax.Array, "..."]:
  """x * Phi(x), by erf and not by the tanh approximation."""
  return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  "gelu": gelu,
  "quick_gelu": quick_gelu,
}
"""Activations by the name that a ViTConfig knows."""


def _scaled(x: jax.Array, scale: nnx.Param | None) -> jax.Array:
  return x if scale is None else x * _row(scale, x.ndim)


def _row(param: nnx.Param, ndim: int) -> jax.Array:
  """A vector with as many axes as what it is added to."""
  return param[...].reshape((1,) * (ndim - 1) + (-1,))
