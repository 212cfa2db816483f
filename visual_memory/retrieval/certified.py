"""Certified exact search: a proof for every query, over all devices.

Every device lists the candidates of its first pass, rescores those that may be
among the nearest, and hands its best to a merge. With v the k-th largest
canonical similarity (see rescoring.py) and b the bound on all rows that were
left out anywhere, a query is certified if v > b: then no other row can be among
the k nearest, nor tie with them.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Bool, Float, Int

from visual_memory import distributed
from visual_memory.memory.rows import Rows, row_specs
from visual_memory.retrieval import first_pass, merging, rescoring, top_values
from visual_memory.retrieval.candidates import list_candidates
from visual_memory.retrieval.found import Found, best, look_up, nothing
from visual_memory.retrieval.tiling import Tiling
from visual_memory.types import Array


def search_shard(
  queries: Float[Array, "Q D"],
  rows: Rows,
  excluded: Int[Array, "Q"],
  floor: Float[Array, "Q"],
  *,
  k: int,
  tiling: Tiling,
  exchange: bool,
) -> tuple[Found, Float[Array, "Q"]]:
  """This shard's best, and a bound on the similarity of all its others.

  Runs inside shard_map over the DATA axis. What is found is in order only if
  there is more than one super-tile.
  """
  prepared = first_pass.prepare(queries, rows)

  def super_tile(start, known):
    listed, opened, others = list_candidates(prepared, rows, start, tiling)
    first = _in_turns(
      lambda *operands: rescoring.similarities_at(*operands, rows),
      tiling.map_queries,
      (queries, listed.batches(0, tiling.num_first).flat, excluded),
    )
    known = jnp.concatenate([known, first], axis=1)
    reached = merging.reached(known, k, tiling.num_merged, exchange=exchange)
    reached = jnp.maximum(floor, reached)
    found, slots, left_out = _in_turns(
      lambda *operands: rescoring.rescore(*operands, rows, tiling),
      tiling.map_queries,
      (queries, first, listed, opened, excluded, reached),
    )
    new = look_up(found, slots, rows, excluded)
    return new, jnp.maximum(others, left_out)

  num_queries = queries.shape[0]
  num_steps = rows.labels.shape[0] // tiling.super_rows
  if num_steps == 1:
    return super_tile(jnp.int32(0), jnp.zeros((num_queries, 0), jnp.float32))

  def step(i, carry):
    found, bound = carry
    new, others = super_tile(i * tiling.super_rows, found.similarities)
    both = jax.tree.map(
      lambda a, b: jnp.concatenate([a, b], axis=1), found, new
    )
    found, cut = _first(both, tiling)
    return found, jnp.maximum(bound, jnp.maximum(others, cut))

  bound = jnp.full(num_queries, top_values.NOTHING, jnp.float32)
  start = nothing(num_queries, tiling.num_merged), bound
  return lax.fori_loop(0, num_steps, step, start)


def _in_turns(function: Callable, size: int, operands: tuple):
  """The function's values for `size` queries at a time, side by side."""
  parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), operands)
  results = lax.map(lambda part: function(*part), parts)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), results)


def _first(found: Found, tiling: Tiling) -> tuple[Found, Float[Array, "Q"]]:
  """The best of these in order, and a bound on the others."""
  count = tiling.num_merged
  if tiling.thorough:  # Ties for the last place are settled, not doubted.
    return best(found, count), jnp.full(len(found.slots), -jnp.inf)
  ordered = best(found, count + 1)
  cut = ordered.similarities[:, -1]
  return jax.tree.map(lambda x: x[:, :-1], ordered), cut


@functools.partial(
  jax.jit, static_argnames=("mesh", "k", "tiling", "few_bytes")
)
def search(
  queries: Float[Array, "Q D"],
  rows: Rows,
  excluded: Int[Array, "Q"],
  floor: Float[Array, "Q"] | None = None,
  *,
  mesh: Mesh,
  k: int,
  tiling: Tiling,
  few_bytes: int = merging.FEW_BYTES,
) -> tuple[Found, Bool[Array, "Q"]]:
  """The k nearest rows of each query, and which queries are certified.

  Args:
    queries: the same on every device, finite, any length.
    rows: sharded over the mesh.
    excluded: slot that each query must not find (-1: none), [Q].
    floor: a similarity that k rows of another memory are known to reach, [Q];
      rows below it may be missing from what is found.
    mesh: the devices.
    k: neighbors per query.
    tiling: static sizes.
    few_bytes: candidates up to this size are gathered rather than exchanged.

  Returns:
    Found [Q, k] and certified [Q], replicated. What is found for a query that
    is not certified may miss rows.
  """
  exchange = merging.exchanges(
    queries.shape[0], tiling.num_merged, mesh.size, few_bytes=few_bytes
  )
  if floor is None:
    floor = jnp.full(queries.shape[0], -jnp.inf, jnp.float32)

  def shard(queries, rows, excluded, floor):
    found, bound = search_shard(
      queries, rows, excluded, floor, k=k, tiling=tiling, exchange=exchange
    )
    if found.slots.shape[1] > tiling.num_merged:  # Of one thorough super-tile.
      found, cut = _first(found, tiling)
      bound = jnp.maximum(bound, cut)
    found = merging.merge_shards(found, k, exchange=exchange)
    bound = lax.pmax(bound, distributed.DATA)
    sure = jnp.maximum(found.similarities[:, -1], floor) > bound
    # All rows may be listed and still be fewer than k (of a block on disk).
    return found, sure | (bound <= top_values.NOTHING / 2)

  everywhere = PartitionSpec()
  return jax.shard_map(
    shard,
    mesh=mesh,
    in_specs=(everywhere, row_specs(rows), everywhere, everywhere),
    out_specs=everywhere,
    check_vma=False,  # Every device merges to the same rows.
  )(queries, rows, excluded, floor)
