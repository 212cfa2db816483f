"""The rows of a memory: its device arrays, and how new ones are built."""

import dataclasses
import functools
import math
import typing

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from visual_memory import distributed, parallel
from visual_memory.memory import buffers, host_copies, layout
from visual_memory.memory import coarse as coarse_lib
from visual_memory.types import UNLABELED, EmbeddedSet

EMPTY = -1
"""The serial of a slot that holds no row."""

SHARDED = PartitionSpec(distributed.DATA)
"""How an array of rows lies on the mesh."""

SPARE = 1 / 32
"""Slots reserved beyond the rows, as a fraction of them."""

_BLOCK_BYTES = 32 << 20
"""Of rows, brought to a device at once."""

_COPIED_ROWS = 4096
"""Of a device, copied coarsely at once: a power of two."""


@typing.no_type_check  # Also rebuilt with specs and fill values as leaves.
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
  """The device arrays of a memory; slot s of each belongs together.

  Attributes:
    embeddings: float32, zeros in empty slots, [capacity, D].
    labels: int32, UNLABELED in empty slots, [capacity].
    serials: int32 order of insertion, EMPTY in empty slots, [capacity].
    coarse: low-precision copy of the embeddings, or None.
    originals: where embeddings are whitened, what they were made of, or None.
  """

  embeddings: Float[Array, "N D"]
  labels: Int[Array, "N"]
  serials: Int[Array, "N"]
  coarse: coarse_lib.Coarse | None = None
  originals: Float[Array, "N D"] | None = None

  @property
  def mask(self) -> Bool[Array, "N"]:
    """True where the slot holds a row."""
    return self.serials >= 0

  @property
  def precision(self) -> str:
    """The precision of the first search pass that these rows allow."""
    return "float32" if self.coarse is None else str(self.coarse.values.dtype)


def row_specs(rows: Rows) -> Rows:
  """How each array of the rows lies on the mesh, for shard_map."""
  return jax.tree.map(lambda x: SHARDED if x.ndim else PartitionSpec(), rows)


def choose_capacity(num_rows: int, *, capacity: int | None, mesh: Mesh) -> int:
  """The slots of a new memory: what was asked for, or 1/32 more than rows.

  Raises:
    ValueError: a capacity below the number of rows.
  """
  if capacity is None:
    capacity = int(num_rows * (1 + SPARE)) + 1
  if capacity < num_rows:
    raise ValueError(f"capacity {capacity} cannot hold {num_rows} rows.")
  return layout.capacity_for(capacity, mesh.size)


def with_precision(rows: Rows, precision: str) -> Rows:
  """Rows with the coarse copy that a first pass of this precision needs.

  A copy is made from all the rows, and gets a scale of its own.
  """
  if precision == "float32":
    return rows  # Outside of jit, which would copy what it returns as it is.
  coarse = None
  if precision == "int8":
    coarse = host_copies.int8_copy(rows.embeddings)
  if coarse is None:
    mesh = rows.embeddings.sharding.mesh
    coarse = _coarse_copy(rows.embeddings, mesh=mesh, precision=precision)
  return dataclasses.replace(rows, coarse=coarse)


@functools.partial(jax.jit, static_argnames=("mesh", "precision"))
def _coarse_copy(
  embeddings: Float[Array, "N D"], *, mesh: Mesh, precision: str
) -> coarse_lib.Coarse:
  """The coarse copy of rows, without temporaries of their size."""
  scale = coarse_lib.scale_for(embeddings, precision)

  def shard(own, scale):
    def copy(block):
      made = coarse_lib.coarsen(block, scale, precision)
      return made.values, made.residuals

    # In one piece, the scale would be held once for every entry (XLA on CPU).
    size = min(_COPIED_ROWS, len(own) & -len(own))
    values, residuals = lax.map(copy, own.reshape(-1, size, own.shape[1]))
    return values.reshape(own.shape), residuals.reshape(-1)

  values, residuals = jax.shard_map(
    shard,
    mesh=mesh,
    in_specs=(SHARDED, PartitionSpec()),
    out_specs=SHARDED,
  )(embeddings, scale)
  return coarse_lib.Coarse(values=values, scale=scale, residuals=residuals)


def rows_from_host(
  embedded: EmbeddedSet,
  capacity: int,
  mesh: Mesh,
  *,
  serials: np.ndarray | None = None,
) -> Rows:
  """Device rows of an EmbeddedSet; each device's part is built on its own.

  Serials ascend; they count from zero by default.
  """
  if serials is None:
    serials = np.arange(len(embedded), dtype=np.int32)
  return Rows(
    embeddings=laid_out(embedded.embeddings, 0, np.float32, capacity, mesh),
    labels=laid_out(embedded.labels, UNLABELED, np.int32, capacity, mesh),
    serials=laid_out(serials, EMPTY, np.int32, capacity, mesh),
  )


def laid_out(
  values: np.ndarray,
  default: int,
  dtype: np.dtype | type,
  capacity: int,
  mesh: Mesh,
) -> jax.Array:
  """One of the arrays of Rows, from the host's values in order of turns.

  Args:
    values: of the rows, [N, ...].
    default: of empty slots.
    dtype: of the array.
    capacity: slots.
    mesh: the devices.
  """
  sharding = distributed.row_sharding(mesh)
  shards = sharding.addressable_devices_indices_map((capacity,))
  values = values.astype(dtype, copy=False)
  parts = [
    _on_device(values, index[0], capacity, default, device)
    for device, index in shards.items()
  ]
  return jax.make_array_from_single_device_arrays(
    (capacity,) + values.shape[1:], sharding, parts
  )


def _on_device(
  values: np.ndarray,
  slots: slice,
  capacity: int,
  default: int,
  device: jax.Device,
) -> jax.Array:
  """The values of some slots on a device; the default where there are none.

  What is large is brought to a GPU or TPU block by block, as copies of it on
  the host would take as much room again.
  """
  first, last, _ = slots.indices(capacity)
  item = values.shape[1:]
  size = max(1, _BLOCK_BYTES // max(1, values.itemsize * math.prod(item)))

  def taken(start: int, end: int) -> buffers.Buffer:
    made = buffers.Buffer((end - start, *item), values.dtype, device)

    def fill(part: slice) -> None:
      out = made.rows[part]
      begin = start + part.start
      turns = layout.turns_of(np.arange(begin, begin + len(out)), capacity)
      if len(values):
        np.take(values, turns, axis=0, out=out, mode="clip")
      out[turns >= len(values)] = default

    parallel.run(fill, parallel.parts(made.rows))
    return made

  if last - first <= size or device.platform == "cpu":
    return taken(first, last).on_device()
  size = min(1 << (size.bit_length() - 1), (last - first) & (first - last))
  whole = jnp.zeros((last - first, *item), values.dtype, device=device)
  for start in range(first, last, size):
    block = taken(start, start + size).on_device()
    whole = _overwrite(whole, block, start - first)
  return whole


@functools.partial(jax.jit, donate_argnums=0)
def _overwrite(whole: Array, block: Array, start: int) -> Array:
  """An array with the rows from `start` on replaced."""
  return lax.dynamic_update_slice_in_dim(whole, block, start, axis=0)
