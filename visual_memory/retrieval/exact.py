"""Exact nearest neighbors: the public search.

  near = search(queries, memory, k=100)        # Neighbors, best first
  near = search("cat.jpg", memory, k=10, encoder=encoder)
  near = search(rows, memory, k=100, exclude_self=ids)   # leave-one-out

The answer is the true top k under the canonical similarity (the dot product in
float64, rounded to float32), ordered by similarity descending, then by order
of insertion. Numbers below the normal range of float32 (2**-126) count as zero.
The answer is the same for every device count, batch size, tile size, process
count and first-pass precision.
"""

from typing import TYPE_CHECKING, Any, Optional

import jax
import numpy as np
from jaxtyping import Float

from visual_memory import distributed, subnormals
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import attempts, tiling
from visual_memory.types import Array, EmbeddedSet, Ids, Neighbors, as_ids

if TYPE_CHECKING:
  import visual_memory.encoders.encoder


def search(
  queries: Any,
  memory: VisualMemory,
  *,
  k: int,
  exclude_self: Ids | None = None,
  encoder: Optional["visual_memory.encoders.encoder.Encoder"] = None,
) -> Neighbors:
  """The k nearest rows of each query.

  Args:
    queries: embeddings [Q, D] or one of them [D], float32, finite, of any
      length (the ranking ignores it, the similarities scale with it, but for
      those of a whitened memory, which are cosines), the same
      in every process; an EmbeddedSet; or, with an encoder, images in any form
      that `Encoder.encode` takes.
    memory: what to search. Its precision decides the first pass only.
    k: neighbors per query, 1 to len(memory) (one less for queries that are
      left out of their own neighbors).
    exclude_self: the id of each query, [Q]: the row with that id is not
      returned for it. Ids that the memory lacks are fine.
    encoder: embeds the images; it must be the one of the memory's rows.

  Returns:
    Neighbors, on the host, the same in every process.

  Raises:
    ValueError: k out of range, queries of another encoder or dimension or not
      finite (naming the query), images without an encoder, or a memory that a
      donated edit has used up.
  """
  embeddings = _embeddings(queries, memory, encoder)
  return tiled_search(embeddings, memory, k=k, exclude_self=exclude_self)


def tiled_search(
  queries: Float[Array, "Q D"],
  memory: VisualMemory,
  *,
  k: int,
  exclude_self: Ids | None = None,
  query_tile: int | None = None,
  row_tile: int | None = None,
) -> Neighbors:
  """`search` of embeddings, in tiles of chosen sizes.

  Queries go through the devices in tiles of a fixed size, so any number of
  them uses one compiled program, and neither scores nor candidates of all
  queries exist at once. The sizes change speed and memory, never answers.

  Args:
    queries: as in `search`, [Q, D].
    memory: as in `search`; likewise k and exclude_self.
    k: see there.
    exclude_self: see there.
    query_tile: queries per call.
    row_tile: rows per matrix product, a power of two.

  Raises:
    ValueError: as for `search`, or a tile out of range.
  """
  if query_tile is not None and query_tile < 1:
    raise ValueError(f"query_tile = {query_tile}: choose 1 or more (or None).")
  memory.check_usable()
  queries = memory.as_searched(check_queries(queries, memory.dim))
  excluded = _excluded_slots(exclude_self, len(queries), memory)
  most = len(memory) - int((excluded >= 0).any())
  if not 1 <= k <= most:
    raise ValueError(
      f"k = {k}, but the memory has {most} rows to find: choose k from 1 to"
      f" {most}."
    )
  # A program is compiled for its k: those of a few k's answer them all.
  asked = min(tiling.next_k(k), most)
  found, num_redone = attempts.answer(
    queries,
    memory.rows,
    excluded,
    mesh=memory.mesh,
    k=asked,
    query_tile=query_tile,
    row_tile=row_tile,
  )
  if asked > k:
    found = jax.tree.map(lambda x: x[:, :k].copy(), found)
  return Neighbors(
    ids=memory.table.ids_later(found.slots),
    indices=memory.table.positions(found.slots),
    labels=found.labels,
    similarities=found.similarities,
    num_redone=num_redone,
    class_names=memory.class_names,
  )


def _embeddings(queries, memory, encoder) -> Array:
  """The embeddings of whatever was given as queries, [Q, D]."""
  if isinstance(queries, EmbeddedSet):
    _check_same(queries.fingerprint, memory)
    return queries.embeddings
  if _are_images(queries):
    if encoder is None:
      raise ValueError(
        "The queries are images, and a memory holds none: pass encoder=, the"
        " one that embedded the memory's rows."
      )
    _check_same(encoder.fingerprint, memory)
    return encoder.encode(queries)
  if not isinstance(queries, jax.Array):
    queries = np.asarray(queries)
  return queries[None] if queries.ndim == 1 else queries


def _are_images(queries: Any) -> bool:
  """Whether these are no embeddings; Pillow is imported only to tell."""
  if getattr(queries, "dtype", np.uint8) != np.uint8:
    return False
  from visual_memory.data.given_images import are_images

  return are_images(queries)


def _check_same(fingerprint: str, memory: VisualMemory) -> None:
  """Raises ValueError unless the queries are of the memory's encoder."""
  if fingerprint != memory.fingerprint:
    raise ValueError(
      f"The queries are of the encoder {fingerprint!r}, the memory's rows of"
      f" {memory.fingerprint!r}: embeddings of two encoders cannot be compared."
    )


def check_queries(queries: Array, dim: int) -> Float[np.ndarray, "Q D"]:
  """Queries as float32 on the host, subnormal entries as zero.

  Raises:
    ValueError: queries of another dimension, or not finite.
  """
  if isinstance(queries, jax.Array):
    queries = distributed.gather(queries)
  queries = np.ascontiguousarray(queries, dtype=np.float32)
  queries = subnormals.flushed(queries)
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
