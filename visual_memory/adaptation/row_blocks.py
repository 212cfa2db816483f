"""A function of a few rows, applied to many: on all devices, the same bits.

  scores = map_rows(function, (queries,), shared, mesh=mesh, block=256)

Each device is given `block` rows at a time and runs one program on them, so
what a row becomes does not depend on how many devices there are.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from visual_memory import distributed


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
  shared = jax.tree.map(
    lambda leaf: distributed.replicate(np.asarray(leaf), mesh), shared
  )
  parts = []
  for start in range(0, num_rows, step):
    given = tuple(
      distributed.shard_rows(_padded(array[start : start + step], step), mesh)
      for array in arrays
    )
    parts.append(on_devices(function, mesh, shared, *given))
  parts = [jax.tree.map(distributed.gather, part) for part in parts]
  return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:num_rows], *parts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def on_devices(
  function: Callable[..., Any], mesh: Mesh, shared: Any, *arrays: jax.Array
) -> Any:
  """function(shared, *rows) on each device's own rows of the arrays."""
  rows = PartitionSpec(distributed.DATA)
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
