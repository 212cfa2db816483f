"""Whitening on a memory's own rows: better neighbors, without a label.

  memory = memory.whitened(ridge=1.0)     # or from_embedded(..., whitening=1.0)
  near = vm.search(queries, memory, k=20)  # queries are whitened alike
  memory = memory.remove(ids)             # and the statistics forget them, too

Row x is searched as u / |u|, where u = L^-1 (x - m), m and C are mean and
covariance of the rows, and L L^T = C + ridge * (trace(C) / D) * I (Cholesky).
The cosine of two such rows is that of ZCA whitening, or of any other square
root of the inverse. Directions in which all rows vary together count less,
those that tell rows apart count more.

What is learned from rows must go when they go. Mean and covariance come from
integers: entries are rounded to multiples of 2**-14, and sums and sums of
products of integers are the same in whatever order they are made. So adding
and subtracting rows is exact, and a memory from which rows were removed equals,
bit for bit, one that never held them, on any number of devices, whatever its
history. Rows that are all zero stay so and do not count.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Float32, Int

from visual_memory import distributed, subnormals
from visual_memory.checks import shown

_STEPS = 1 << 14
"""Of an entry's grid, in one unit."""

_LOW = 1 << 8
"""Entries are HIGH * _LOW + LOW: of 8 bits each, exact in any arithmetic."""

_BLOCK = 256
"""Rows that are multiplied together, everywhere: a row's bits depend on it."""

_HOST_ROWS = 1 << 16
"""Rows whose products are summed on the host at once; exact below 2**25."""

_LEAST_VARIANCE = 1e-12
_UNIT_TOLERANCE = 1e-5
_SHARDED = PartitionSpec(distributed.DATA)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
  """Sums over rows, as integers: they add and subtract exactly.

  Attributes:
    count: rows that are not all zero.
    sums: of their entries, in steps of 2**-14, int64 [D].
    products: of pairs of entries, in steps of 2**-28, int64 [D, D].
  """

  count: int
  sums: Int[np.ndarray, "D"]
  products: Int[np.ndarray, "D D"]

  def __add__(self, other: "Moments") -> "Moments":
    """Of the rows of both."""
    return Moments(
      count=self.count + other.count,
      sums=self.sums + other.sums,
      products=self.products + other.products,
    )

  def __sub__(self, other: "Moments") -> "Moments":
    """Of the rows without the other's, which must be among them."""
    return Moments(
      count=self.count - other.count,
      sums=self.sums - other.sums,
      products=self.products - other.products,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Whitening:
  """What rows and queries go through before they are compared.

  Attributes:
    ridge: in units of the mean variance of an entry.
    moments: of the memory's rows.
    mean: float32 [D].
    factor: the inverse of the Cholesky factor, float32 [D, D].
  """

  ridge: float
  moments: Moments
  mean: Float32[np.ndarray, "D"]
  factor: Float32[np.ndarray, "D D"]

  def apply(
    self, queries: Float32[np.ndarray, "Q D"]
  ) -> Float32[np.ndarray, "Q D"]:
    """Queries of any length as unit rows in the whitened space, on the host."""
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    off = (np.abs(lengths - 1) > _UNIT_TOLERANCE) & (lengths > 0)
    scaled = np.where(off, queries / np.where(lengths > 0, lengths, 1), queries)
    count = len(queries)
    padded = distributed.pad_to_multiple(count, _BLOCK)
    scaled = np.pad(
      scaled.astype(np.float32), ((0, padded - count), (0, 0))
    ).reshape(-1, _BLOCK, queries.shape[1])
    blocks = [np.asarray(_block(b, self.mean, self.factor)) for b in scaled]
    return np.concatenate(blocks)[:count]


def check_ridge(ridge: Any) -> float:
  """A ridge as it may be.

  Raises:
    ValueError: it is no number from 1e-4 to 1e4.
  """
  known = isinstance(ridge, (int, float, np.number))
  if not known or isinstance(ridge, bool) or not 1e-4 <= ridge <= 1e4:
    raise ValueError(
      f"whitening is by a ridge of 0.0001 to 10,000 (1 is a good one), in units"
      f" of the rows' mean variance; got {shown(ridge)}."
    )
  return float(ridge)


def moments_of(rows: Float[np.ndarray, "N D"]) -> Moments:
  """The moments of unit rows on the host."""
  dim = rows.shape[1]
  total = Moments(
    count=0, sums=np.zeros(dim, np.int64), products=np.zeros((dim, dim), int)
  )
  for first in range(0, len(rows), _HOST_ROWS):
    part = rows[first : first + _HOST_ROWS]
    steps = np.rint(part.astype(np.float64) * _STEPS)
    total = total + Moments(
      count=int(part.any(axis=1).sum()),
      sums=steps.sum(axis=0).astype(np.int64),
      products=(steps.T @ steps).astype(np.int64),
    )
  return total


def moments_on(rows: Float[Array, "N D"], mesh: Mesh) -> Moments:
  """The moments of row-sharded rows, without moving them; empty ones are zero.

  The same integers as `moments_of` all of them.
  """
  with jax.enable_x64(True):
    count, sums, products = jax.device_get(_moments(rows, mesh=mesh))
  return Moments(count=int(count), sums=sums, products=products)


@functools.partial(jax.jit, static_argnames="mesh")
def _moments(rows, *, mesh):
  """Count, sums and products, int64, on every device."""

  def shard(own):
    dim = own.shape[1]

    def add(total, block):
      steps = jnp.round(block * _STEPS)
      high = jnp.round(steps / _LOW)
      low = steps - high * _LOW
      product = functools.partial(
        jnp.einsum, "nd,ne->de", precision=lax.Precision.HIGHEST
      )  # Of at most 256 products of at most 2**14: exact in float32.
      mixed = product(high, low).astype(jnp.int64)
      return (
        total[0] + block.any(axis=1).sum(),
        total[1] + steps.astype(jnp.int64).sum(axis=0),
        total[2]
        + product(high, high).astype(jnp.int64) * _LOW**2
        + (mixed + mixed.T) * _LOW
        + product(low, low).astype(jnp.int64),
      ), None

    zero = (
      jnp.zeros((), jnp.int64),
      jnp.zeros(dim, jnp.int64),
      jnp.zeros((dim, dim), jnp.int64),
    )
    zero = lax.pcast(zero, distributed.DATA, to="varying")
    total, _ = lax.scan(add, zero, own.reshape(-1, _BLOCK, dim))
    return lax.psum(total, distributed.DATA)

  return jax.shard_map(
    shard, mesh=mesh, in_specs=_SHARDED, out_specs=PartitionSpec()
  )(rows)


def whitening(moments: Moments, ridge: float) -> Whitening:
  """How rows of these moments are whitened.

  Where rows do not vary (there are fewer than two), they stay as they are.
  """
  import scipy.linalg  # A fifth of a second, of which few searches have need.

  dim = len(moments.sums)
  count = max(1, moments.count)
  mean = moments.sums / (count * _STEPS)
  covariance = moments.products / (count * _STEPS**2) - np.outer(mean, mean)
  variance = np.trace(covariance) / dim
  if moments.count < 2 or variance < _LEAST_VARIANCE:
    mean, factor = np.zeros(dim), np.eye(dim)
  else:
    # Rounded to the grid, a direction may have a variance just below zero.
    lower = scipy.linalg.cholesky(
      covariance / variance + ridge * np.eye(dim), lower=True
    )
    factor = scipy.linalg.solve_triangular(lower, np.eye(dim), lower=True)
  return Whitening(
    ridge=ridge,
    moments=moments,
    mean=mean.astype(np.float32),
    factor=factor.astype(np.float32),
  )


def apply_on(
  of: Whitening, rows: Float[Array, "N D"], mesh: Mesh
) -> Float[Array, "N D"]:
  """Row-sharded unit rows as they are searched; zero rows stay zero."""
  return _apply(rows, of.mean, of.factor, mesh=mesh)


@functools.partial(jax.jit, static_argnames="mesh")
def _apply(rows, mean, factor, *, mesh):
  def shard(own, mean, factor):
    blocks = own.reshape(-1, _BLOCK, own.shape[1])
    made = lax.map(lambda block: _unit(block, mean, factor), blocks)
    return made.reshape(own.shape)

  return jax.shard_map(
    shard,
    mesh=mesh,
    in_specs=(_SHARDED, PartitionSpec(), PartitionSpec()),
    out_specs=_SHARDED,
  )(rows, mean, factor)


def _unit(block, mean, factor):
  """A block of rows, whitened, of unit length."""
  made = jnp.dot(block - mean[None], factor.T, precision=lax.Precision.HIGHEST)
  length = jnp.sqrt(jnp.sum(made * made, axis=1, keepdims=True))
  some = block.any(axis=1, keepdims=True) & (length > 0)
  made = jnp.where(some, made / jnp.where(some, length, 1), 0)
  return jnp.where(jnp.abs(made) < subnormals.SMALLEST, 0, made)


_block = jax.jit(_unit)
