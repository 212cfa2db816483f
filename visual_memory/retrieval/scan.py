"""The exhaustive scan: canonical similarities of every row, nothing assumed.

The answer of last resort, for queries that no bound can decide, such as more
equal rows than there are candidates. Slow (everything in float64, one sort per
tile of rows) and bounded in memory.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from visual_memory.memory.rows import Rows, row_specs
from visual_memory.retrieval import merging
from visual_memory.retrieval.found import Found, best, look_up, nothing
from visual_memory.retrieval.rescoring import rounded


@functools.partial(jax.jit, static_argnames=("mesh", "k", "row_tile"))
def search(
  queries: Float[Array, "Q D"],
  rows: Rows,
  excluded: Int[Array, "Q"],
  *,
  mesh: Mesh,
  k: int,
  row_tile: int,
) -> Found:
  """The k nearest rows of each query, replicated.

  Args:
    queries: the same on every device, [Q, D].
    rows: sharded over the mesh.
    excluded: slot that each query must not find (-1: none), [Q].
    mesh: the devices.
    k: neighbors per query.
    row_tile: rows compared at once; must divide a shard.
  """

  def shard(queries, rows, excluded):
    num_rows = rows.labels.shape[0]

    def tile(i, found):
      local = i * row_tile + jnp.arange(row_tile, dtype=jnp.int32)
      own = lax.dynamic_slice_in_dim(rows.embeddings, i * row_tile, row_tile)
      similarities = _all_similarities(queries, own)
      local = jnp.broadcast_to(local, similarities.shape)
      new = look_up(similarities, local, rows, excluded)
      merged = jax.tree.map(
        lambda a, b: jnp.concatenate([a, b], axis=1), found, new
      )
      return best(merged, k)

    start = nothing(queries.shape[0], k)
    found = lax.fori_loop(0, num_rows // row_tile, tile, start)
    return merging.merge_shards(found, k, exchange=False)

  everywhere = PartitionSpec()
  return jax.shard_map(
    shard,
    mesh=mesh,
    in_specs=(everywhere, row_specs(rows), everywhere),
    out_specs=everywhere,
    check_vma=False,  # Every device merges to the same rows.
  )(queries, rows, excluded)


def _all_similarities(
  queries: Float[Array, "Q D"], rows: Float[Array, "T D"]
) -> Float[Array, "Q T"]:
  """The canonical similarity of every query and every row."""
  with jax.enable_x64(True):
    exact = lax.dot_general(
      queries.astype(jnp.float64),
      rows.astype(jnp.float64),
      (((1,), (1,)), ((), ())),
      precision=lax.Precision.HIGHEST,
    )
    return rounded(exact)
