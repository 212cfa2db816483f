"""The canonical similarity, and which candidates it is computed for.

The similarity of a query and a row is their dot product in float64, rounded to
float32 (zero below its normal range). Float32 products are exact in float64 and
the sum's error (about 1e-16) is far below float32 rounding, so the result does
not depend on tile sizes, batch sizes, devices or processes.

Reading rows from all over the memory is what rescoring costs. Candidates come
in batches, the most likely first, with bounds on their similarities; the first
batches tell what similarity the nearest rows reach at least, and batches whose
bound is below it are left out.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from visual_memory import subnormals
from visual_memory.memory.rows import Rows
from visual_memory.retrieval import top_values
from visual_memory.retrieval.candidates import Ranked
from visual_memory.retrieval.found import is_real
from visual_memory.retrieval.tiling import Tiling
from visual_memory.types import Array


def similarities(
  queries: Float[Array, "Q D"], rows: Float[Array, "Q M D"]
) -> Float[Array, "Q M"]:
  """The canonical similarity of each query and each of its own M rows."""
  with jax.enable_x64(True):
    exact = jnp.einsum(
      "qd,qmd->qm",
      queries.astype(jnp.float64),
      rows.astype(jnp.float64),
      precision=lax.Precision.HIGHEST,
    )
    return rounded(exact)


def rounded(exact: Float[Array, "*Q"]) -> Float[Array, "*Q"]:
  """`subnormals.rounded` on a device; within jax.enable_x64."""
  tiny = jnp.abs(exact) < subnormals.SMALLEST
  return jnp.where(tiny, 0.0, exact).astype(jnp.float32)


def similarities_at(
  queries: Float[Array, "Q D"],
  slots: Int[Array, "Q M"],
  excluded: Int[Array, "Q"],
  rows: Rows,
) -> Float[Array, "Q M"]:
  """Canonical similarities, -inf for rows that a query may not find.

  Args:
    queries: some of the queries.
    slots: within this shard; negative ones are missing.
    excluded: slot that each query must not find (-1: none).
    rows: the shard.
  """
  own = rows.embeddings[jnp.maximum(slots, 0)]
  # Fused with their widening, rows are read at half the speed.
  exact = similarities(queries, lax.optimization_barrier(own))
  return jnp.where(is_real(slots, rows, excluded), exact, -jnp.inf)


def rescore(
  queries: Float[Array, "Q D"],
  first: Float[Array, "Q F"],
  listed: Ranked,
  opened: Ranked,
  excluded: Int[Array, "Q"],
  floor: Float[Array, "Q"],
  rows: Rows,
  tiling: Tiling,
) -> tuple[Float[Array, "Q M"], Int[Array, "Q M"], Float[Array, "Q"]]:
  """The best candidates, and a bound on those that are left out.

  Args:
    queries: some of the queries.
    first: similarities of the first `tiling.num_first` of their batches.
    listed: their candidates, these batches included.
    opened: more of them.
    excluded: slots that they must not find.
    floor: rows below this similarity are not wanted.
    rows: the shard.
    tiling: static sizes.

  Returns:
    Similarities, -inf for missing rows, in any order; slots; and the bound.
  """

  def of(slots):
    return similarities_at(queries, slots, excluded, rows)

  more, bound = similarities_from(floor, listed.batches(tiling.num_first), of)
  inside, bound_inside = similarities_from(floor, opened, of)
  bound = jnp.maximum(bound, bound_inside)
  found = jnp.concatenate([first, more, inside], axis=1)
  slots = jnp.concatenate([listed.flat, opened.flat], axis=1)
  # All of them if ties for the last place are to be settled, not doubted.
  if tiling.thorough or found.shape[1] <= tiling.num_merged:
    return found, slots, bound
  values, columns = top_values.top_k(found, tiling.num_merged + 1)
  bound = jnp.maximum(bound, values[:, -1])
  slots = jnp.take_along_axis(slots, columns[:, :-1], axis=1)
  return values[:, :-1], slots, bound


def similarities_from(
  floor: Float[Array, "Q"],
  ranked: Ranked,
  of: Callable[[Int[Array, "Q s"]], Float[Array, "Q s"]],
) -> tuple[Float[Array, "Q M"], Float[Array, "Q"]]:
  """Similarities in the batches that may reach the floor of any query.

  Args:
    floor: rows below this similarity are not wanted.
    ranked: batches of candidates, [Q, n, s].
    of: what gives the similarities of the rows in these slots.

  Returns:
    One for each candidate, -inf for those that are left out; and a bound
    on the similarity of these.
  """
  num_queries, count, size = ranked.slots.shape
  nothing = jnp.full((num_queries, count * size), -jnp.inf, jnp.float32)
  if not count:
    return nothing, jnp.full(num_queries, -jnp.inf, jnp.float32)
  # Nothing is wanted for a query whose floor is infinite, whatever its bounds.
  wanted = (ranked.bounds >= floor[:, None]) & (floor < jnp.inf)[:, None]
  needed = jnp.max(jnp.sum(wanted, axis=1))

  def batch(i, found):
    new = of(ranked.slots[:, i])
    return lax.dynamic_update_slice_in_dim(found, new, i * size, axis=1)

  found = lax.fori_loop(0, needed, batch, nothing)
  left_out = jnp.arange(count) >= needed
  bounds = jnp.where(left_out[None], ranked.bounds, -jnp.inf)
  return found, jnp.max(bounds, axis=1)
