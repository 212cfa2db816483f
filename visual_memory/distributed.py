"""Devices and processes: one mesh, one row axis.

One device is a mesh of one; several hosts are one mesh over all their devices.
A row of a batch and a row of a memory are both rows of the DATA axis.
"""

import functools
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from visual_memory import launchers

DATA = "data"
"""The only mesh axis: rows of memories and of batches are split over it."""

_GATHER_ELEMENTS = 2**24
"""Elements that each process contributes to one step of `gather_rows`."""


def initialize() -> None:
  """Joins the other processes of this run, if there are any.

  Tasks of srun and mpirun and workers of a TPU pod find each other; a task that
  is alone on its node has all of the node's GPUs, others an even share.
  Elsewhere set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.
  A run of one process needs none of them. Must come before any use of JAX.

  Raises:
    ValueError: see `launchers.own_process`.
  """
  arguments = launchers.own_process(os.environ)
  if arguments is not None:
    jax.distributed.initialize(**arguments)


def make_mesh(num_devices: int | None = None) -> Mesh:
  """A one-axis mesh over the first num_devices devices (all by default)."""
  devices = jax.devices()
  count = len(devices) if num_devices is None else num_devices
  if not 1 <= count <= len(devices):
    raise ValueError(
      f"A mesh of {count} devices was asked for; this run has {len(devices)}."
    )
  # Auto: retrieval places its collectives by shard_map, encoders by jit.
  return Mesh(np.asarray(devices[:count]), (DATA,), axis_types=(AxisType.Auto,))


def row_sharding(mesh: Mesh) -> NamedSharding:
  """Axis 0 split over the mesh."""
  return NamedSharding(mesh, PartitionSpec(DATA))


def replicated(mesh: Mesh) -> NamedSharding:
  """A full copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def pad_to_multiple(count: int, multiple: int) -> int:
  """The least multiple of `multiple` that is at least count (and not zero)."""
  return max(1, math.ceil(count / multiple)) * multiple


def process_rows(
  num_rows: int, *, index: int | None = None, count: int | None = None
) -> slice:
  """This process's contiguous share of num_rows rows.

  Shares are disjoint, cover every row, and differ by at most one row.
  """
  index = jax.process_index() if index is None else index
  count = jax.process_count() if count is None else count
  return slice(index * num_rows // count, (index + 1) * num_rows // count)


def shard_rows(array: np.ndarray, mesh: Mesh) -> jax.Array:
  """A host array, equal in every process, as a row-sharded device array.

  Each process copies only the rows of its own devices.

  Raises:
    ValueError: the rows do not divide over the mesh (pad them first).
  """
  if array.shape[0] % mesh.size:
    raise ValueError(
      f"{array.shape[0]} rows do not divide over {mesh.size} devices: pad"
      " them to a multiple first (pad_to_multiple)."
    )
  return jax.make_array_from_callback(
    array.shape, row_sharding(mesh), lambda index: array[index]
  )


def replicate(array: np.ndarray, mesh: Mesh) -> jax.Array:
  """A host array, equal in every process, copied to every device."""
  array = np.asarray(array)
  return jax.make_array_from_callback(
    array.shape, replicated(mesh), lambda index: array[index]
  )


def gather(array: jax.Array) -> np.ndarray:
  """The whole value of a device array on every host, however it is sharded."""
  if array.is_fully_addressable or array.is_fully_replicated:
    return np.asarray(array)
  return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def gather_rows(rows: np.ndarray) -> np.ndarray:
  """The host rows of all processes, [n, ...], in process order, everywhere.

  Each process may bring another number of rows, of one type and row shape
  (32 bits or fewer). Every process must call this.
  """
  if jax.process_count() == 1:
    return rows
  counts = multihost_utils.process_allgather(np.asarray(len(rows), np.int32))
  ends = np.cumsum(counts)
  whole = np.empty((ends[-1], *rows.shape[1:]), rows.dtype)
  # Bounded pieces: the devices through which rows travel may be nearly full.
  step = _GATHER_ELEMENTS // max(1, math.prod(rows.shape[1:]))
  step = max(1, min(step, int(counts.max())))
  for begin in range(0, int(counts.max()), step):
    own = rows[begin : begin + step]
    padding = [(0, step - len(own))] + [(0, 0)] * (rows.ndim - 1)
    pieces = multihost_utils.process_allgather(np.pad(own, padding))
    for piece, end, count in zip(pieces, ends, counts, strict=True):
      target = whole[end - count + begin : end][:step]
      target[:] = piece[: len(target)]
  return whole


def map_rows(
  function: Callable[..., Any],
  arrays: tuple[np.ndarray, ...],
  shared: Any,
  *,
  mesh: Mesh,
  block: int,
) -> Any:
  """function(shared, *rows) for all rows: host arrays, [N, ...].

  Args:
    function: a module's function (programs are kept by its identity), from
      `block` rows of each array to a tree of arrays with one row for each.
    arrays: of N rows each; the last block is padded with zeros.
    shared: a tree of arrays that every block needs.
    mesh: the devices.
    block: rows of a device at a time.
  """
  num_rows = len(arrays[0])
  step = block * mesh.size
  shared = jax.tree.map(lambda leaf: replicate(np.asarray(leaf), mesh), shared)
  parts = []
  for start in range(0, max(num_rows, 1), step):  # Of no rows: its shapes.
    given = tuple(
      shard_rows(_padded(array[start : start + step], step), mesh)
      for array in arrays
    )
    parts.append(on_devices(function, mesh, shared, *given))
  parts = [jax.tree.map(gather, part) for part in parts]
  return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:num_rows], *parts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def on_devices(
  function: Callable[..., Any], mesh: Mesh, shared: Any, *arrays: jax.Array
) -> Any:
  """function(shared, *rows) on each device's own rows of the arrays."""
  rows = PartitionSpec(DATA)
  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=(PartitionSpec(), *(rows for _ in arrays)),
    out_specs=rows,
    check_vma=False,
  )(shared, *arrays)


def _padded(array: np.ndarray, count: int) -> np.ndarray:
  """The rows and as many zeros as make `count` of them."""
  padding = [(0, count - len(array))] + [(0, 0)] * (array.ndim - 1)
  return np.pad(array, padding) if count > len(array) else array


def is_lead() -> bool:
  """True in the one process that writes reports and shared files."""
  return jax.process_index() == 0


def everyone(condition: bool) -> bool:
  """Whether the condition holds in every process; all must ask together.

  What a process finds on its own disk may differ from what others find: ask
  here before taking a branch that communicates.
  """
  if jax.process_count() == 1:
    return condition
  votes = multihost_utils.process_allgather(np.asarray(condition))
  return bool(np.all(votes))


def barrier(name: str) -> None:
  """Waits until every process is here; `name` must be the same in all."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
