"""Exact nearest neighbors: the public search.

  near = search(queries, memory, k=100)        # Neighbors, best first
  near = search(rows, memory, k=100, exclude_self=ids)   # leave-one-out

The answer is the true top k under the canonical similarity (the dot product in
float64, rounded to float32), ordered by similarity descending, then by order
of insertion. It is the same for every device count, batch size, tile size,
process count and first-pass precision.
"""

import jax
import numpy as np
from jaxtyping import Float

from visual_memory import distributed
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import attempts
from visual_memory.types import Array, Ids, Neighbors, as_ids


def search(
  queries: Float[Array, "Q D"],
  memory: VisualMemory,
  *,
  k: int,
  exclude_self: Ids | None = None,
  query_tile: int | None = None,
  row_tile: int | None = None,
) -> Neighbors:
  """The k nearest rows of each query.

  Queries go through the devices in tiles of a fixed size, so any number of
  them uses one compiled program, and neither scores nor candidates of all
  queries exist at once.

  Args:
    queries: float32, finite, [Q, D]; any length (the ranking ignores it, the
      similarities scale with it). The same in every process.
    memory: what to search. Its precision decides the first pass only.
    k: neighbors per query, 1 to len(memory) (one less for queries that are
      left out of their own neighbors).
    exclude_self: the id of each query, [Q]: the row with that id is not
      returned for it. Ids that the memory lacks are fine.
    query_tile: queries per call; changes speed and memory, not answers.
    row_tile: rows per matrix product, a power of two; likewise.

  Returns:
    Neighbors, on the host, the same in every process.

  Raises:
    ValueError: k or a tile out of range, queries of another dimension or not
      finite (naming the query), or a memory that a donated edit has used up.
  """
  if query_tile is not None and query_tile < 1:
    raise ValueError(f"query_tile = {query_tile}: choose 1 or more (or None).")
  memory.check_usable()
  queries = check_queries(queries, memory.dim)
  excluded = _excluded_slots(exclude_self, len(queries), memory)
  most = len(memory) - int((excluded >= 0).any())
  if not 1 <= k <= most:
    raise ValueError(
      f"k = {k}, but the memory has {most} rows to find: choose k from 1 to"
      f" {most}."
    )
  found, num_redone = attempts.answer(
    queries,
    memory.rows,
    excluded,
    mesh=memory.mesh,
    k=k,
    query_tile=query_tile,
    row_tile=row_tile,
  )
  return Neighbors(
    ids=memory.table.ids[found.slots],
    indices=memory.table.positions(found.slots),
    labels=found.labels,
    similarities=found.similarities,
    num_redone=num_redone,
  )


def check_queries(queries: Array, dim: int) -> Float[np.ndarray, "Q D"]:
  """Queries as float32 on the host.

  Raises:
    ValueError: queries of another dimension, or not finite.
  """
  if isinstance(queries, jax.Array):
    queries = distributed.gather(queries)
  queries = np.ascontiguousarray(queries, dtype=np.float32)
  if queries.ndim != 2 or queries.shape[1] != dim:
    raise ValueError(
      f"queries have shape {queries.shape}; this memory needs [Q, {dim}]."
    )
  good = np.isfinite(queries).all(axis=1)
  if not good.all():
    raise ValueError(f"Query {np.argmin(good)} holds NaN or infinity.")
  return queries


def _excluded_slots(ids, count: int, memory: VisualMemory) -> np.ndarray:
  """The slot that each query must not find, int32; -1 for none."""
  if ids is None:
    return np.full(count, -1, np.int32)
  ids = as_ids(ids, what="exclude_self")
  if len(ids) != count:
    raise ValueError(f"exclude_self has {len(ids)} ids for {count} queries.")
  return memory.table.find_or_none(ids).astype(np.int32)
