"""The pre-norm transformer block that image and text towers are made of.

Tokens are [B, T, D]; `layers` says what the precisions are.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from visual_memory.encoders.layers import (
  ACTIVATIONS,
  LayerNorm,
  Linear,
  dot,
  drawn,
  row,
)
from visual_memory.types import Array


class Attention(nnx.Module):
  """Multi-head self-attention; q, k and v come from one fused kernel."""

  def __init__(
    self,
    dim: int,
    *,
    num_heads: int,
    bias: bool = True,
    out_dim: int | None = None,
    rngs: nnx.Rngs,
  ):
    """The columns of qkv are q, k, v, each in order of heads."""
    self.qkv = Linear(dim, 3 * dim, bias=bias, rngs=rngs)
    self.proj = Linear(dim, out_dim or dim, rngs=rngs)
    self.num_heads = num_heads

  def __call__(
    self,
    x: Float[Array, "B T D"],
    *,
    causal: bool,
    precision: str,
    maps: bool,
    turns: Float[np.ndarray, "2 T d"] | None = None,
    queries: int | None = None,
  ) -> tuple[Float[jax.Array, "B Q E"], Float[jax.Array, "B h Q T"] | None]:
    """The attended tokens and, if asked for, the attention maps.

    turns, if given, are cosines and sines by which queries and keys are
    rotated (see `patch_grid.rotations`). Only the first `queries` tokens
    attend, by default all.
    """
    batch, _, dim = x.shape
    linear = functools.partial(self.qkv, precision=precision, hidden=True)
    if queries is None:
      parts = jnp.split(linear(x), 3, axis=-1)
    else:
      kv = jnp.split(linear(x, columns=slice(dim, None)), 2, axis=-1)
      parts = [linear(x[:, :queries], columns=slice(dim)), *kv]
    q, k, v = (
      part.reshape(batch, -1, self.num_heads, dim // self.num_heads)
      for part in parts
    )
    if turns is not None:
      q, k = rotated(q, turns[:, :queries]), rotated(k, turns)
    fused = fused_attention() if queries is None else None
    if fused and precision != "float32" and not maps:
      half = jnp.dtype(precision)
      halves = (part.astype(half) for part in (q, k, v))
      mixed = _fused(*halves, causal, fused)
      weights = None
    else:
      heads_first = [jnp.swapaxes(part, 1, 2) for part in (q, k, v)]
      mixed, weights = attend(*heads_first, causal=causal, precision=precision)
      mixed = jnp.swapaxes(mixed, 1, 2)
    mixed = mixed.reshape(batch, -1, dim)
    return self.proj(mixed, precision=precision), weights if maps else None


class Mlp(nnx.Module):
  """Two linear layers with an activation between."""

  def __init__(self, dim: int, *, hidden: int, act: str, rngs: nnx.Rngs):
    """act is a key of ACTIVATIONS."""
    self.fc1 = Linear(dim, hidden, rngs=rngs)
    self.fc2 = Linear(hidden, dim, rngs=rngs)
    self.act = act

  def __call__(
    self, x: Float[Array, "*rows D"], *, precision: str
  ) -> Float[jax.Array, "*rows D"]:
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
    qkv_bias: bool = True,
    rngs: nnx.Rngs,
  ):
    """Arguments as the fields of ViTConfig."""
    self.norm1 = LayerNorm(dim, eps=eps)
    self.attn = Attention(dim, num_heads=num_heads, bias=qkv_bias, rngs=rngs)
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
    turns: Float[np.ndarray, "2 T d"] | None = None,
    queries: int | None = None,
  ) -> tuple[Float[jax.Array, "B Q D"], Float[jax.Array, "B h Q T"] | None]:
    """The tokens after the block and, if asked for, its attention maps.

    Args:
      x: tokens, float32.
      causal: whether a token sees only itself and those before it.
      precision: see `layers`.
      maps: whether attention maps are wanted.
      branch_scales: what each image's attention and mlp branches are multiplied
        by (stochastic depth in training); ones if None.
      turns: rotations of queries and keys; see `Attention`.
      queries: how many tokens, from the first on, are wanted; by default all.
        All are seen.
    """
    mixed, weights = self.attn(
      self.norm1(x),
      causal=causal,
      precision=precision,
      maps=maps,
      turns=turns,
      queries=queries,
    )
    mixed = _scaled(mixed, self.scale1)
    if branch_scales is not None:
      mixed = mixed * branch_scales[0][:, None, None]
    x = x[:, :queries] + mixed
    fed = _scaled(self.mlp(self.norm2(x), precision=precision), self.scale2)
    if branch_scales is not None:
      fed = fed * branch_scales[1][:, None, None]
    return x + fed, weights


class AttentionPool(nnx.Module):
  """One learned query that attends to all tokens, then a residual mlp.

  The probe itself is not added to what it finds.

  Reference: the multi-head attention pooling of big_vision's ViT (SigLIP).
  """

  def __init__(
    self,
    dim: int,
    *,
    num_heads: int,
    mlp_dim: int,
    act: str,
    eps: float,
    rngs: nnx.Rngs,
  ):
    """Arguments as the fields of ViTConfig."""
    self.probe = nnx.Param(drawn(rngs.params(), dim, cut=False))
    self.qkv = Linear(dim, 3 * dim, rngs=rngs)
    self.proj = Linear(dim, dim, rngs=rngs)
    self.norm = LayerNorm(dim, eps=eps)
    self.mlp = Mlp(dim, hidden=mlp_dim, act=act, rngs=rngs)
    self.num_heads = num_heads

  def __call__(
    self, x: Float[Array, "B T D"], *, precision: str
  ) -> Float[jax.Array, "B D"]:
    """The pooled tokens."""
    batch, tokens, dim = x.shape
    linear = functools.partial(self.qkv, precision=precision)
    # The query is the same for every image.
    q = linear(self.probe[...][None], columns=slice(dim))
    kv = linear(x, columns=slice(dim, None), hidden=True)
    kv = kv.reshape(batch, tokens, 2, self.num_heads, -1)
    k, v = jnp.moveaxis(kv, (2, 3), (0, 2))  # [B, h, T, d] each
    q = jnp.broadcast_to(
      q.reshape(1, self.num_heads, 1, -1), (*k.shape[:2], 1, k.shape[-1])
    )
    mixed, _ = attend(q, k, v, causal=False, precision=precision)
    y = self.proj(mixed.reshape(batch, dim), precision=precision)
    return y + self.mlp(self.norm(y), precision=precision)


def rotated(
  x: Float[Array, "B T h d"], turns: Float[np.ndarray, "2 T d"]
) -> Float[jax.Array, "B T h d"]:
  """Each head's halves as pairs of coordinates, turned by each token's angles.

  Reference: Su et al., "RoFormer" (2021), in DINOv3's layout: value t and value
  t + d / 2 of a head are a pair.
  """
  cos, sin = jnp.asarray(turns)[:, None, :, None]
  first, second = jnp.split(x, 2, axis=-1)
  return x * cos + jnp.concatenate([-second, first], axis=-1) * sin


def attend(
  q: Float[Array, "B h Q d"],
  k: Float[Array, "B h T d"],
  v: Float[Array, "B h T d"],
  *,
  causal: bool,
  precision: str,
) -> tuple[Float[jax.Array, "B h Q d"], Float[jax.Array, "B h Q T"]]:
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
  # Whatever is subtracted, the softmax is the same: so is its gradient.
  highest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
  scores = jnp.exp(scores - highest)
  total = jnp.sum(scores, axis=-1, keepdims=True)
  # Dividing after the product touches T * d values instead of T * T.
  mixed = dot(scores, v, (((3,), (2,)), heads), precision=precision) / total
  return mixed, scores / total


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _fused(
  q: Float[Array, "B T h d"],
  k: Float[Array, "B T h d"],
  v: Float[Array, "B T h d"],
  causal: bool,
  implementation: str,
) -> Float[jax.Array, "B T h d"]:
  """softmax(q k^T / sqrt(d)) v by a fused kernel, of 16-bit values."""
  return jax.nn.dot_product_attention(
    q, k, v, is_causal=causal, implementation=implementation
  )


def _fused_forward(q, k, v, causal, implementation):
  """As before, and its pullback.

  cuDNN has no gradient for an odd number of tokens: one is added then, which no
  other sees.
  """

  def even(*parts):
    batch, tokens = parts[0].shape[:2]
    lengths = None
    if tokens % 2:
      parts = [jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in parts]
      lengths = jnp.full(batch, tokens, jnp.int32)
    mixed = jax.nn.dot_product_attention(
      *parts,
      is_causal=causal,
      query_seq_lengths=lengths,
      key_value_seq_lengths=lengths,
      implementation=implementation,
    )
    return mixed[:, :tokens]

  return jax.vjp(even, q, k, v)


def _fused_backward(causal, implementation, pullback, cotangent):
  del causal, implementation
  return pullback(cotangent)


_fused.defvjp(_fused_forward, _fused_backward)


def fused_attention() -> str | None:
  """The fused 16-bit attention of this hardware: 'cudnn' on NVIDIA GPUs."""
  is_cuda = "cuda" in jax.devices()[0].client.platform_version.lower()
  return "cudnn" if is_cuda else None


def _scaled(x: jax.Array, scale: nnx.Param | None) -> jax.Array:
  return x if scale is None else x * row(scale, x.ndim)
