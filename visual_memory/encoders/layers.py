"""What transformers are made of: linear maps, LayerNorm, activations, products.

The residual stream, LayerNorm and softmax are float32 in all precisions:

  'float32'   every product at Precision.HIGHEST: the reference.
  'bfloat16'  operands of products rounded to bfloat16, accumulated in float32;
              hidden values between two products are held in bfloat16.
  'float16'   the same in float16: eight times finer, for GPUs without bfloat16;
              values beyond 65,504 become infinite.

Measured on a trained ViT-S/14 and photographs, as 1 - cosine of the embedding
to float32's: bfloat16 7e-6 to 5e-5, patch tokens up to 2.3e-4; float16 1e-6 and
4e-6 at most (experiments/benchmarks/encoder_precision.py). Neighbors whose
similarities differ by less may change places.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Float, PRNGKeyArray

from visual_memory.types import Array


class _OneKey(nnx.Rngs):
  """The same key always: nnx counts keys in time that grows while it traces."""

  def __init__(self):
    """No streams."""
    super().__init__()

  def params(self) -> jax.Array:
    """The key."""
    return jax.random.key(0)


def abstract(
  make: Callable[[nnx.Rngs], nnx.Module],
) -> tuple[nnx.GraphDef, nnx.State]:
  """A module's structure, and jax.ShapeDtypeStructs in place of its arrays.

  Args:
    make: the module, from what gives its layers their keys.
  """
  return nnx.split(nnx.eval_shape(lambda: make(_OneKey())))


_DRAWN = (1024, 4096, 16384, 65536, 262144, 1048576, 4194304)


def drawn(
  key: PRNGKeyArray, *shape: int, deviation: float = 0.02, cut: bool = True
) -> Float[Array, "*shape"]:
  """Normal values, by default truncated at two deviations; float32.

  The same as by `jax.nn.initializers`. All shapes are the beginning of one
  sequence of the key, so that programs of few sizes draw them: each takes half
  a second to compile.
  """
  made = nnx.initializers
  draw = (made.truncated_normal if cut else made.normal)(deviation)
  if isinstance(key, jax.core.Tracer):
    return draw(key, shape)
  number = math.prod(shape)
  size = next((size for size in _DRAWN if size >= number), number)
  return jnp.asarray(np.asarray(draw(key, (size,)))[:number].reshape(shape))


class Linear(nnx.Module):
  """A linear map of the last axis: kernel [in, out] and, mostly, bias [out]."""

  def __init__(
    self, in_dim: int, out_dim: int, *, bias: bool = True, rngs: nnx.Rngs
  ):
    """Kernel truncated normal of deviation 0.02, bias zero."""
    self.kernel = nnx.Param(drawn(rngs.params(), in_dim, out_dim))
    self.bias = nnx.Param(jnp.zeros(out_dim)) if bias else None

  def __call__(
    self,
    x: Float[Array, "*rows i"],
    *,
    precision: str,
    hidden: bool = False,
    columns: slice = slice(None),
  ) -> Float[jax.Array, "*rows o"]:
    """x @ kernel + bias, in float32.

    Args:
      x: rows.
      precision: see the module.
      hidden: the result goes into another product, so that in 'bfloat16' it
        need not leave the first one in float32.
      columns: which of the kernel and the bias; by default all.
    """
    y = dot(
      x,
      self.kernel[:, columns],
      (((x.ndim - 1,), (0,)), ((), ())),
      precision=precision,
      hidden=hidden,
    )
    return y if self.bias is None else y + row(self.bias[columns], y.ndim)


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
    return x * row(self.scale, x.ndim) + row(self.bias, x.ndim)


def dot(
  x: Array, y: Array, dimensions: tuple, *, precision: str, hidden: bool = False
) -> jax.Array:
  """lax.dot_general at a stated precision; see `Linear` for `hidden`."""
  if precision != "float32":
    # Float32 on both sides of the gradient; no value is converted for it.
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    return _half_dot(x, y, dimensions, hidden, jnp.dtype(precision))
  return lax.dot_general(x, y, dimensions, precision=lax.Precision.HIGHEST)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _half_dot(
  x: Array, y: Array, dimensions: tuple, hidden: bool, half: np.dtype
) -> jax.Array:
  """A product of 16-bit operands, in float32.

  Its gradient, too, is made of products of such operands: JAX's own would
  multiply float32 cotangents, at a fraction of the speed.
  """
  return lax.dot_general(
    x.astype(half),
    y.astype(half),
    dimensions,
    preferred_element_type=half if hidden else jnp.float32,
  ).astype(jnp.float32)


def _half_dot_forward(x, y, dimensions, hidden, half):
  operands = x.astype(half), y.astype(half)
  return _half_dot(x, y, dimensions, hidden, half), operands


def _half_dot_backward(dimensions, hidden, half, operands, cotangent):
  del hidden
  _, transpose = jax.vjp(
    lambda x, y: lax.dot_general(x, y, dimensions), *operands
  )
  dx, dy = transpose(cotangent.astype(half))
  return dx.astype(jnp.float32), dy.astype(jnp.float32)


_half_dot.defvjp(_half_dot_forward, _half_dot_backward)


def stored(params: Any, *, precision: str) -> Any:
  """Params on the device; in a half precision, kernels are held in it."""

  def halved(path: tuple, leaf: Array) -> Array:
    return leaf.astype(precision) if path[-1].key == "kernel" else leaf

  if precision != "float32":
    params = jax.tree_util.tree_map_with_path(halved, params)
  # One by one, every shape would have a program of its own.
  return jax.device_put(params)


def in_groups(
  run: Callable[[jax.Array], Any],
  images: Float[Array, "B H W C"],
  *,
  at_once: int,
) -> Any:
  """What run says of a batch, on a CPU of at most so many images at a time.

  As few activations then stay in the cache; elsewhere all go together.
  """
  batch = images.shape[0]
  if jax.default_backend() != "cpu" or batch <= at_once:
    return run(images)
  at_once = max(n for n in range(1, at_once + 1) if batch % n == 0)
  groups = images.reshape(batch // at_once, at_once, *images.shape[1:])
  outputs = lax.map(run, groups)
  return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), outputs)


def quick_gelu(x: Float[Array, "..."]) -> Float[jax.Array, "..."]:
  """x * sigmoid(1.702 x): CLIP's activation."""
  return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: Float[Array, "..."]) -> Float[jax.Array, "..."]:
  """x * Phi(x), by erf and not by the tanh approximation.

  jax.nn.gelu takes erfc, which keeps the tail's relative error. Here, as in
  torch, the error is some 1e-7 of x, and a CPU takes less than half the time.
  """
  return 0.5 * x * (1 + lax.erf(x * np.float32(np.sqrt(0.5))))


def gelu_tanh(x: Float[Array, "..."]) -> Float[jax.Array, "..."]:
  """The tanh approximation of x * Phi(x)."""
  return jax.nn.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  "gelu": gelu,
  "gelu_tanh": gelu_tanh,
  "quick_gelu": quick_gelu,
}
"""Activations by the name that a ViTConfig knows."""


def row(param: nnx.Param | Array, ndim: int) -> jax.Array:
  """A vector with as many axes as what it is added to."""
  return param[...].reshape((1,) * (ndim - 1) + (-1,))
