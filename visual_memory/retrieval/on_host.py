"""Exact search of rows that lie in the host's memory, by compiled code.

The answer is that of certified.py, which does the same on other devices: a
first pass in whole numbers with a bound on its error, then the canonical
similarity of every row that may be among the nearest. Candidates have no fixed
number here, so every query is proven at once.
"""

import jax
import numpy as np
from jaxtyping import Float, Int

from visual_memory import parallel
from visual_memory.memory import buffers, precision
from visual_memory.memory.rows import Rows
from visual_memory.native import library
from visual_memory.retrieval.found import Found

_QUERIES, _KEPT = 512, 1 << 22
"""Queries, and rows kept of them all, at once: they fit into little memory, and
Ctrl-C is soon heard."""
_FEW_QUERIES = 32
"""Up to here, reading rows is the cost: int8 copies are a fourth of them."""
_PRODUCTS_PER_THREAD = 1 << 20
_VNNI_QUERIES = 64
"""From here, and from precision.VNNI_ROWS, XLA's int8 products are faster where
AVX-512 VNNI is there."""


def answers(rows: Rows, num_queries: int) -> bool:
  """Whether these rows can be searched here, and are best searched here."""
  if not buffers.reachable(rows.embeddings) or library.functions() is None:
    return False
  by_vnni = (
    rows.precision == "int8"
    and "avx512_vnni" in library.instructions()
    and len(rows.labels) >= precision.VNNI_ROWS
    and num_queries >= _VNNI_QUERIES
  )
  return not by_vnni


def search(
  queries: Float[np.ndarray, "Q D"],
  rows: Rows,
  excluded: Int[np.ndarray, "Q"],
  floor: Float[np.ndarray, "Q"],
  *,
  k: int,
) -> Found:
  """The k nearest rows of each query, on the host; see certified.search."""
  jax.block_until_ready(rows)
  found = Found(
    similarities=np.empty((len(queries), k), np.float32),
    serials=np.empty((len(queries), k), np.int32),
    slots=np.empty((len(queries), k), np.int32),
    labels=np.empty((len(queries), k), np.int32),
  )
  size = max(1, min(_QUERIES, _KEPT // k))
  for start in range(0, len(queries), size):
    some = slice(start, start + size)
    asked = (queries[some], excluded[some], floor[some])
    _search(asked, rows, jax.tree.map(lambda x: x[some], found), k)  # noqa: B023
  return found


def _search(asked, rows: Rows, found: Found, k: int) -> None:
  """Fills in what is found for some queries."""
  queries, excluded, floor = map(np.ascontiguousarray, asked)
  num_queries, dim = queries.shape
  coarse = rows.coarse if num_queries <= _FEW_QUERIES else None
  if rows.precision != "int8":
    coarse = None
  arrays = [
    rows.embeddings,
    coarse and coarse.values,
    coarse and coarse.residuals,
    rows.serials,
    rows.labels,
  ]
  shards = np.stack([_addresses(array, rows) for array in arrays], axis=1)
  num_slots = len(rows.labels)
  most = num_queries * num_slots * dim // _PRODUCTS_PER_THREAD
  library.functions().nearest(
    queries.ctypes.data,
    num_queries,
    dim,
    shards.ctypes.data,
    len(shards),
    num_slots // len(shards),
    1.0 if coarse is None else float(coarse.scale),
    excluded.ctypes.data,
    floor.ctypes.data,
    k,
    max(1, min(parallel.num_cores(), most)),
    *(x.ctypes.data for x in _fields(found)),
  )


def _fields(found: Found):
  return found.similarities, found.serials, found.slots, found.labels


def _addresses(array, rows: Rows) -> np.ndarray:
  """Where each shard of an array begins, in order; zeros for None."""
  if array is None:
    return np.zeros(len(rows.labels.sharding.device_set), np.uint64)
  shards = [shard.ctypes.data for _, shard in buffers.views(array)]
  return np.array(shards, np.uint64)
