"""The first pass over one shard: candidates for the nearest rows.

One matrix product per tile of rows gives an upper bound of every similarity.
Of each block of rows only the two largest bounds are kept, each carrying its
row's place within the block in its lowest bits, so one read of the scores is
all that selection costs. The candidates are the largest kept bounds, and the
pass also says, for every query, a bound that no row outside of the candidates
exceeds: the certificate is made of that.
"""

import dataclasses
import typing

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from visual_memory.memory.coarse import coarsen
from visual_memory.memory.edits import Rows
from visual_memory.retrieval.tiling import Tiling

NOTHING = -1e30
"""Below every score; finite, so that low bits can be written."""

_NOTHING_INT = -(2**29)
_TRACELESS = 2.0**-100
"""Scores below this may be flushed to zero, and their low bits with them."""
_LENGTHS = (2.0**-40, 2.0**60)
"""Of queries whose squared entries neither underflow nor overflow."""
_MOST_LIFTED = 2.0**28
"""Added to the largest int8 score, 2**29, it stays below 2**30, as do the
floats that the bits of scores are compared as."""
_ONE_BITS = 0x3F800000  # float32 1.0
_GROUP = 16


@typing.no_type_check  # Also rebuilt with specs and fill values as leaves.
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
  """Queries in the precision of the first pass.

  Attributes:
    values: float32, bfloat16 or int8, [Q, D].
    scales: the similarity is about score * scale, [Q].
    slack: how much a similarity may exceed score * scale, [Q].
    least_residual: the part of a row's residual that the slack includes, [].
    lift: what is added to the int8 score of a row for each unit of residual
      beyond the least, so that rows with a larger error are not missed, [].
  """

  values: Array
  scales: Float[Array, "Q"]
  slack: Float[Array, "Q"]
  least_residual: Float[Array, ""] | float = 0.0
  lift: Float[Array, ""] | float = 0.0


def prepare(queries: Float[Array, "Q D"], rows: Rows) -> Prepared:
  """Queries ready for the first pass over a shard.

  The slack adds up what may be lost: rounding of products and sums, the low
  bits that carry places, and for coarse rows what memory/coarse.py derives.
  """
  lengths = jnp.sqrt(jnp.sum(jnp.square(queries), axis=1))
  slack = rounding(queries) + lengths * 2.0**-23 * 64  # Place in block.
  # Nothing is known of a query that cannot be measured: leave it to the scan.
  measured = (lengths > _LENGTHS[0]) & (lengths < _LENGTHS[1])
  slack = jnp.where(measured, slack, jnp.inf)
  if rows.coarse is None:
    return Prepared(values=queries, scales=jnp.ones_like(lengths), slack=slack)
  largest_entries = jnp.max(jnp.abs(queries), axis=1, keepdims=True)
  integers = rows.precision == "int8"
  scales = jnp.maximum(largest_entries, 1e-30) / 127
  if not integers:
    scales = jnp.ones_like(scales)
  # Each query has a scale of its own: it does not change the order of rows.
  own = coarsen(queries, scales, rows.precision)
  residuals = rows.coarse.residuals
  largest = least = jnp.max(residuals)
  lift = 0.0
  scales = scales[:, 0] * rows.coarse.scale
  if integers:
    # What tells residuals apart is added to the scores of rows, in units that
    # suffice for every query, as far as it fits.
    lift = jnp.max(jnp.where(measured, lengths / scales, 0)) * (1 + 2.0**-20)
    least = jnp.min(jnp.where(rows.mask, residuals, largest))
    least = jnp.maximum(least, largest - _MOST_LIFTED / jnp.maximum(lift, 1))
    # Places in the low bits are worth up to 64 units.
    slack = slack + jnp.where(measured, 64 * scales, 0)
  # A row is at most 1.001 long, its coarse copy no more than 2 % longer.
  coarseness = lengths * least + (1.02 + largest) * own.residuals
  slack = slack + jnp.where(measured, coarseness, 0)
  return Prepared(
    values=own.values,
    scales=scales,
    slack=slack,
    least_residual=least,
    lift=lift,
  )


def rounding(queries: Float[Array, "*Q D"]) -> Float[Array, "*Q"]:
  """How much less than the canonical similarity a float32 product may be.

  Holds for rows of at most 1.001, and any order of summation.
  """
  lengths = jnp.sqrt(jnp.sum(jnp.square(queries), axis=-1))
  # Twice D * 2^-24 of the sum; rounding, scaling and adding of the result.
  return lengths * (2.0**-23 * queries.shape[-1] + 2.0**-20)


def scores(prepared: Prepared, rows: Rows, *, masked: bool) -> Array:
  """Scores of rows, int32 or float32, [Q, T].

  An empty slot scores zero, like any row at a right angle. That is harmless
  while the k-th neighbor is at a positive similarity, and else found out by
  the certificate; `masked` spends a pass to score them below everything.
  """
  values = rows.embeddings if rows.coarse is None else rows.coarse.values
  integers = values.dtype == jnp.int8
  result = lax.dot_general(
    prepared.values,
    values,
    (((1,), (1,)), ((), ())),
    precision=lax.Precision.HIGHEST if rows.coarse is None else None,
    preferred_element_type=jnp.int32 if integers else jnp.float32,
  )
  if not masked:
    return result
  return jnp.where(rows.mask[None], result, _nothing(result.dtype))


def lifts(prepared: Prepared, rows: Rows) -> Int[Array, "T"] | None:
  """What int8 scores of rows lack, for all queries alike; multiples of 64.

  Kept apart from the scores: fused with an addition, the matrix product of a
  CPU is several times slower.
  """
  if rows.precision != "int8":
    return None
  beyond = jnp.maximum(rows.coarse.residuals - prepared.least_residual, 0)
  return 64 * jnp.ceil(beyond * prepared.lift / 64).astype(jnp.int32)


def _nothing(dtype) -> Array:
  return jnp.asarray(_NOTHING_INT if dtype == jnp.int32 else NOTHING, dtype)


def two_best_per_block(
  scores: Shaped[Array, "Q T"],
  block: int,
  lifts: Int[Array, "T"] | None = None,
) -> tuple[Shaped[Array, "Q M"], Shaped[Array, "Q M"]]:
  """The largest and second largest score of every block, tagged.

  Block b of M = T / block holds columns b, b + M, b + 2M, ...; the place of a
  column within its block replaces the lowest bits of its score. Lifts, whole
  multiples of 64, are added to the scores of their columns.
  """
  num_queries, width = scores.shape
  shape = (num_queries, block, width // block)
  place = lax.broadcasted_iota(jnp.int32, shape, 1)
  tagged = (_bits(scores.reshape(shape)) & ~(block - 1)) | place
  if lifts is not None:
    tagged = tagged + lifts.reshape(1, *shape[1:])
  tagged = _from_bits(tagged, scores.dtype)
  left, right = tagged[:, : block // 2], tagged[:, block // 2 :]
  high, low = jnp.maximum(left, right), jnp.minimum(left, right)
  best = jnp.max(high, axis=1)
  # The second is the best of the other pairs' highs and its own pair's low.
  second = jnp.max(jnp.where(high == best[:, None], low, high), axis=1)
  return best, second


def _as_floats(scores: Shaped[Array, "Q W"]) -> Float[Array, "Q W"]:
  """Scores as float32 in the same order, exactly: XLA selects floats only.

  Integers become the floats of the same bits above 1.0's: never subnormal.
  """
  if scores.dtype == jnp.float32:
    return scores
  return lax.bitcast_convert_type(scores + _ONE_BITS, jnp.float32)


def _bits(values: Array) -> Array:
  if values.dtype == jnp.int32:
    return values
  return lax.bitcast_convert_type(values, jnp.int32)


def _from_bits(bits: Array, dtype) -> Array:
  return bits if dtype == jnp.int32 else lax.bitcast_convert_type(bits, dtype)


def largest(
  values: Float[Array, "Q W"], count: int
) -> tuple[Float[Array, "Q count"], Int[Array, "Q count"]]:
  """The `count` largest values of each row, descending, and their columns.

  Which of several equal values at the end are taken is not defined. Wide rows
  go through the maxima of groups: the groups with the `count` largest maxima
  hold the `count` largest values.
  """
  num_queries, width = values.shape
  count = min(count, width)
  if width % _GROUP or width < 4 * _GROUP * count:
    return top_k(values, count)
  groups = values.reshape(num_queries, _GROUP, width // _GROUP)
  _, chosen = top_k(jnp.max(groups, axis=1), count)
  columns = chosen[:, None, :] + (
    jnp.arange(_GROUP, dtype=jnp.int32)[None, :, None] * (width // _GROUP)
  )
  columns = columns.reshape(num_queries, -1)
  found, place = top_k(jnp.take_along_axis(values, columns, axis=1), count)
  return found, jnp.take_along_axis(columns, place, axis=1)


def top_k(
  values: Float[Array, "*Q W"], count: int
) -> tuple[Float[Array, "*Q count"], Int[Array, "*Q count"]]:
  """lax.top_k, free to order ties as it likes where JAX lets us say so."""
  try:
    # On GPU the stable form sorts whole rows; the other selects.
    best, columns = lax.top_k(values, count, is_stable=False)
  except TypeError:  # jax < 0.12
    best, columns = lax.top_k(values, count)
  return best, columns


def candidates(
  prepared: Prepared,
  rows: Rows,
  start: Int[Array, ""],
  tiling: Tiling,
) -> tuple[Int[Array, "Q M"], Float[Array, "Q"]]:
  """Rows that may be among the nearest, and a bound on all the others.

  Args:
    prepared: the queries.
    rows: the shard.
    start: where its super-tile begins.
    tiling: static sizes.

  Returns:
    Positions within the shard, [Q, M], M = num_candidates plus the rows of
    the opened blocks, with repeats as -1; and the bound, slack included: a row
    of the super-tile that is not listed has at most this similarity, [Q].
  """
  best, second = _kept_scores(prepared, rows, start, tiling)
  per_tile = tiling.rows // tiling.block
  # A block's second is among the largest kept only if its best is.
  count = tiling.num_candidates + 1
  _, blocks = largest(_as_floats(best), count)
  pool = jnp.concatenate(
    [jnp.take_along_axis(kept, blocks, axis=1) for kept in (best, second)],
    axis=1,
  )
  _, columns = top_k(_as_floats(pool), min(count, pool.shape[1]))
  values = jnp.take_along_axis(pool, columns, axis=1)
  others, values, columns = values[:, -1], values[:, :-1], columns[:, :-1]
  is_second = columns >= blocks.shape[1]
  blocks = jnp.take_along_axis(blocks, columns % blocks.shape[1], axis=1)
  first_row = start + blocks // per_tile * tiling.rows + blocks % per_tile
  place = _bits(values) & (tiling.block - 1)
  found = first_row + place * per_tile
  if values.dtype == jnp.float32:
    found, others = _drop_traceless(values, found, others)
  if tiling.num_opened:
    opened, hidden = _open_blocks(values, is_second, first_row, found, tiling)
    found = jnp.concatenate([found, opened], axis=1)
    others = jnp.maximum(others, hidden)
  bound = others.astype(jnp.float32) * prepared.scales
  # Lifted scores of many dimensions exceed what float32 counts exactly.
  bound = bound + 2.0**-22 * jnp.abs(bound) + prepared.slack
  # Scores of a query that cannot be measured may be NaN: no maximum sees them.
  bound = jnp.where(jnp.isinf(prepared.slack), jnp.inf, bound)
  return found, bound


def _drop_traceless(values, found, others):
  """Candidates without those whose place may be lost, and the new bound.

  Hardware may read subnormal floats as zero, and a score of zero that carries
  a place is subnormal: it would name another row of its block.
  """
  traceless = jnp.abs(values) < _TRACELESS
  dropped = jnp.where(jnp.any(traceless, axis=1), _TRACELESS, NOTHING)
  return jnp.where(traceless, -1, found), jnp.maximum(others, dropped)


def _kept_scores(prepared, rows, start, tiling):
  """The two best scores of every block of a super-tile, tagged."""
  per_tile = tiling.rows // tiling.block
  integers = prepared.values.dtype == jnp.int8
  dtype = jnp.int32 if integers else jnp.float32
  nothing = jnp.full(
    (prepared.values.shape[0], tiling.super_rows // tiling.block),
    _nothing(dtype),
  )

  def tile(i, kept):
    begin = start + i * tiling.rows
    part = jax.tree.map(
      lambda x: (
        lax.dynamic_slice_in_dim(x, begin, tiling.rows) if x.ndim else x
      ),
      rows,
    )
    new = two_best_per_block(
      scores(prepared, part, masked=tiling.masked),
      tiling.block,
      lifts(prepared, part),
    )
    return tuple(
      lax.dynamic_update_slice(old, value, (0, i * per_tile))
      for old, value in zip(kept, new, strict=True)
    )

  # Two arrays: one array updated twice would be copied at every step.
  return lax.fori_loop(
    0, tiling.super_rows // tiling.rows, tile, (nothing, nothing)
  )


def _open_blocks(values, is_second, first_row, found, tiling):
  """All rows of the blocks that may hide a third candidate.

  A row that is not kept is at most as good as its block's second; so only a
  block whose second is a candidate can hide one. The best of these blocks are
  opened; the first that is not opened bounds what stays hidden.
  """
  order = jnp.where(
    is_second,
    values.shape[1] - jnp.arange(values.shape[1], dtype=jnp.float32),
    -1,
  )  # Candidates come in descending order.
  count = min(tiling.num_opened, values.shape[1] - 1)
  rank, which = top_k(order, count + 1)
  hidden = jnp.take_along_axis(values, which[:, -1:], axis=1)[:, 0]
  hidden = jnp.where(rank[:, -1] > 0, hidden, _nothing(values.dtype))
  first_row = jnp.take_along_axis(first_row, which[:, :-1], axis=1)
  per_tile = tiling.rows // tiling.block
  places = jnp.arange(tiling.block, dtype=jnp.int32) * per_tile
  opened = first_row[:, :, None] + places[None, None]
  opened = jnp.where(rank[:, :-1, None] > 0, opened, -1)
  opened = opened.reshape(values.shape[0], -1)
  repeated = jnp.any(opened[:, :, None] == found[:, None, :], axis=2)
  return jnp.where(repeated, -1, opened), hidden
