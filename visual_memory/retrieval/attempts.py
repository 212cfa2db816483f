"""Ever surer attempts at a search, over any number of queries.

Rows in the host's memory are searched by compiled code, which proves every
query at once (on_host.py). Elsewhere, and where there is none: the certified
search first, in the precision of the rows; then, for the queries
that it cannot prove, in float32; then with nothing hidden and many candidates;
at last the exhaustive scan, which needs no proof.
"""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from visual_memory import distributed
from visual_memory.memory import room
from visual_memory.memory.rows import Rows
from visual_memory.retrieval import on_host, tiling
from visual_memory.retrieval.found import Found

_SCAN_QUERIES = 16
_THOROUGH_QUERIES = 32
_SCAN_ROWS = 2048


def answer(
  queries: Float[np.ndarray, "Q D"],
  rows: Rows,
  excluded: Int[np.ndarray, "Q"],
  *,
  mesh: Mesh,
  k: int,
  floor: Float[np.ndarray, "Q"] | None = None,
  query_tile: int | None = None,
  row_tile: int | None = None,
) -> tuple[Found, int]:
  """The k nearest rows of each query, proven, and how many were redone.

  Queries go through the devices in tiles of a fixed size, so any number of
  them uses one compiled program.

  Args:
    queries: finite float32, the same in every process, [Q, D].
    rows: sharded over the mesh.
    excluded: slot that each query must not find (-1: none), [Q].
    mesh: the devices.
    k: neighbors per query.
    floor: similarity that k rows elsewhere are known to reach, [Q]: what lies
      below it is of no interest and may be missing from the answer.
    query_tile: queries per call.
    row_tile: rows per matrix product, a power of two. Tiles are those of the
      certified search: with either given, rows in the host's memory go through
      it as well.

  Returns:
    Found, on the host, [Q, k]; and the number of queries that the first
    attempt did not prove.
  """
  if floor is None:
    floor = np.full(len(queries), -np.inf, np.float32)
  if not (query_tile or row_tile) and on_host.answers(rows, len(queries)):
    return on_host.search(queries, rows, excluded, floor, k=k), 0
  size = query_tile or tiling.query_tile(len(queries), backend(mesh))
  inputs = (queries, excluded, floor)
  first = _certified(rows, mesh, k, size, row_tile)
  found, good = _run(first, inputs, size)
  redo = np.flatnonzero(~good)
  for most, attempt in _second_attempts(rows, mesh, k, row_tile):
    left = redo[~good[redo]]
    if left.size:
      size = min(most, tiling.query_tile(len(left), backend(mesh)))
      again, sure = _run(attempt(size), [x[left] for x in inputs], size)
      for old, new in zip(
        jax.tree.leaves(found), jax.tree.leaves(again), strict=True
      ):
        old[left[sure]] = new[sure]
      good[left] = sure
  return found, len(redo)


def backend(mesh: Mesh) -> str:
  """The kind of hardware of a mesh: "cpu", "gpu" or "tpu"."""
  platform = mesh.devices.flat[0].platform
  return {"cuda": "gpu", "rocm": "gpu"}.get(platform, platform)


def _second_attempts(
  rows: Rows, mesh: Mesh, k: int, row_tile: int | None
) -> Iterator[tuple[int, Callable]]:
  """Surer and slower attempts: (most queries per call, attempt(size))."""
  fine = dataclasses.replace(rows, coarse=None)
  if rows.coarse is not None:
    size = tiling.query_tile(1 << 30, backend(mesh))
    yield size, lambda size: _certified(fine, mesh, k, size, row_tile)
  yield (
    _THOROUGH_QUERIES,
    lambda size: _certified(fine, mesh, k, size, row_tile, thorough=True),
  )
  yield _SCAN_QUERIES, lambda size: _exhaustive(fine, mesh, k)


def _certified(rows, mesh, k, num_queries, row_tile, thorough=False):
  """The certified search, as a function of a tile of queries.

  Raises:
    MemoryError: what it needs does not fit on the devices.
  """
  from visual_memory.retrieval import certified, planner  # Not for the host.

  dim = rows.embeddings.shape[1]
  sizes = tiling.plan(
    num_queries=num_queries,
    shard_rows=len(rows.labels) // mesh.size,
    dim=dim,
    k=k,
    precision=rows.precision,
    backend=backend(mesh),
    num_shards=mesh.size,
    row_tile=row_tile,
    thorough=thorough,
  )
  room.check(
    planner.temporary_bytes(sizes, dim, k, mesh.size),
    mesh,
    f"A search for k = {k} by {num_queries} queries at once",
    "choose a smaller query_tile or k",
  )

  def attempt(queries, excluded, floor):
    return certified.search(
      queries, rows, excluded, floor, mesh=mesh, k=k, tiling=sizes
    )

  return attempt


def _exhaustive(rows, mesh, k):
  """The exhaustive scan, as a function of a tile of queries."""
  from visual_memory.retrieval import scan

  shard_rows = len(rows.labels) // mesh.size
  row_tile = min(_SCAN_ROWS, shard_rows & -shard_rows)

  def attempt(queries, excluded, floor):
    del floor
    found = scan.search(
      queries, rows, excluded, mesh=mesh, k=k, row_tile=row_tile
    )
    return found, np.ones(len(queries), bool)

  return attempt


def _run(attempt, inputs, size):
  """An attempt over all queries, tile by tile: Found and certified."""
  count = len(inputs[0])
  extra = distributed.pad_to_multiple(count, size) - count
  fills = (0, -1, np.inf)  # Nothing is of interest to a padding query.
  inputs = [
    np.pad(x, ((0, extra),) + ((0, 0),) * (x.ndim - 1), constant_values=fill)
    for x, fill in zip(inputs, fills, strict=True)
  ]
  parts = [
    attempt(*(x[i : i + size] for x in inputs))
    for i in range(0, count + extra, size)
  ]
  parts = jax.device_get(parts)
  return jax.tree.map(lambda *x: np.concatenate(x)[:count].copy(), *parts)
