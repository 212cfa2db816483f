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
from visual_memory.retrieval import top_values
from visual_memory.retrieval.tiling import Tiling

_NOTHING_INT = -(2**29)
_TRACELESS = 2.0**-100
"""Scores below this may be flushed to zero, and their low bits with them."""
_LENGTHS = (2.0**-40, 2.0**60)
"""Of queries whose squared entries neither underflow nor overflow."""
_MOST_LIFTED = 2.0**28
"""Added to the largest int8 score, 2**29, it stays below 2**30, as do the
floats that the bits of scores are compared as."""
_ONE_BITS = 0x3F800000  # float32 1.0


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
  # Fused with what follows, the product of a CPU is several times slower.
  result = lax.optimization_barrier(result)
  if not masked:
    return result
  return jnp.where(rows.mask[None], result, _nothing(result.dtype))


def lifts(prepared: Prepared, rows: Rows) -> Int[Array, "T"] | None:
  """What int8 scores of rows lack, for all queries alike; multiples of 64."""
  if rows.precision != "int8":
    return None
  beyond = jnp.maximum(rows.coarse.residuals - prepared.least_residual, 0)
  return 64 * jnp.ceil(beyond * prepared.lift / 64).astype(jnp.int32)


def _nothing(dtype) -> Array:
  return jnp.asarray(
    _NOTHING_INT if dtype == jnp.int32 else top_values.NOTHING, dtype
  )


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
  width = scores.shape[1] // block

  def tagged(place):
    columns = slice(place * width, (place + 1) * width)
    bits = (_bits(scores[:, columns]) & ~(block - 1)) | place
    if lifts is not None:
      bits = bits + lifts[None, columns]
    return _from_bits(bits, scores.dtype)

  # Plain maxima of slices become one pass at the speed of memory; a reduction
  # over places, written as such, takes a CPU several times as long.
  best, second = tagged(0), tagged(1)
  best, second = jnp.maximum(best, second), jnp.minimum(best, second)
  for place in range(2, block):
    score = tagged(place)
    second = jnp.maximum(second, jnp.minimum(best, score))
    best = jnp.maximum(best, score)
  return best, second


def _as_floats(scores: Shaped[Array, "Q W"]) -> Float[Array, "Q W"]:
  """Scores as float32 in the same order, exactly: XLA selects floats only.

  Integers become the floats of the same bits above 1.0's: never subnormal.
  """
  if scores.dtype == jnp.float32:
    return scores
  return lax.bitcast_convert_type(scores + _ONE_BITS, jnp.float32)


def _from_floats(
  values: Float[Array, "Q count"], dtype
) -> Shaped[Array, "Q count"]:
  """The scores that `_as_floats` was given."""
  if dtype == jnp.float32:
    return values
  return lax.bitcast_convert_type(values, jnp.int32) - _ONE_BITS


def _bits(values: Array) -> Array:
  if values.dtype == jnp.int32:
    return values
  return lax.bitcast_convert_type(values, jnp.int32)


def _from_bits(bits: Array, dtype) -> Array:
  return bits if dtype == jnp.int32 else lax.bitcast_convert_type(bits, dtype)


@typing.no_type_check  # Also rebuilt without the axis of queries.
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked:
  """Rows that may be among the nearest, in batches, the most likely first.

  Attributes:
    positions: within the shard, or -1, [Q, n, s].
    bounds: a similarity that no row of a batch exceeds, descending, [Q, n].
  """

  positions: Int[Array, "Q n s"]
  bounds: Float[Array, "Q n"]


def candidates(
  prepared: Prepared,
  rows: Rows,
  start: Int[Array, ""],
  tiling: Tiling,
) -> tuple[Ranked, Ranked, Float[Array, "Q"]]:
  """Rows that may be among the nearest, and a bound on all the others.

  The best row of each of the `num_candidates` best blocks, and all rows of
  those among these blocks whose second is largest, the `num_opened` opened
  ones. What is not listed is the best row of another block at most, or the
  second of one that is not opened: a row that is not kept is no better.

  Args:
    prepared: the queries.
    rows: the shard.
    start: where its super-tile begins.
    tiling: static sizes.

  Returns:
    The best rows; the rows of opened blocks, without these; and a bound,
    slack included as in all bounds: a row of the super-tile that is not listed
    has at most this similarity, [Q]. (So has a row that is listed in spite of
    what bounds its batch: one whose place was lost, see `_drop_traceless`.)
  """
  best, second = _kept_scores(prepared, rows, start, tiling)
  per_tile = tiling.rows // tiling.block
  values, blocks, others = _leading(best, tiling.num_candidates)
  first_row = start + blocks // per_tile * tiling.rows + blocks % per_tile
  place = _bits(values) & (tiling.block - 1)
  found = first_row + place * per_tile
  seconds, opened, hidden = _leading(
    jnp.take_along_axis(second, blocks, axis=1), tiling.num_opened
  )
  others = jnp.maximum(others, hidden)
  first_row, place = (
    jnp.take_along_axis(x, opened, axis=1)[:, :, None]
    for x in (first_row, place)
  )
  places = jnp.arange(tiling.block, dtype=jnp.int32)[None, None]
  inside = jnp.where(places == place, -1, first_row + places * per_tile)
  if values.dtype == jnp.float32:
    found, others = _drop_traceless(values, found, others)
  return (
    _in_batches(found[:, :, None], _bounds(values, prepared), tiling.batch),
    _in_batches(inside, _bounds(seconds, prepared), tiling.batch),
    _bounds(others[:, None], prepared)[:, 0],
  )


def _bounds(
  scores: Shaped[Array, "Q M"], prepared: Prepared
) -> Float[Array, "Q M"]:
  """The largest similarities that rows of these scores may have."""
  bounds = scores.astype(jnp.float32) * prepared.scales[:, None]
  # Lifted scores of many dimensions exceed what float32 counts exactly.
  bounds = bounds + 2.0**-22 * jnp.abs(bounds) + prepared.slack[:, None]
  # Scores of a query that cannot be measured may be NaN: no maximum sees them.
  return jnp.where(jnp.isinf(prepared.slack)[:, None], jnp.inf, bounds)


def _in_batches(
  positions: Int[Array, "Q m b"], bounds: Float[Array, "Q m"], size: int
) -> Ranked:
  """Groups of rows, descending by their bounds, as batches of `size` rows."""
  num_queries, count, per_group = positions.shape
  together = max(1, size // per_group)
  extra = -count % together
  positions = jnp.pad(
    positions, ((0, 0), (0, extra), (0, 0)), constant_values=-1
  )
  bounds = jnp.pad(bounds, ((0, 0), (0, extra)), constant_values=-jnp.inf)
  return Ranked(
    positions=positions.reshape(num_queries, -1, together * per_group),
    bounds=bounds.reshape(num_queries, -1, together).max(axis=2),
  )


def _leading(
  scores: Shaped[Array, "Q M"], count: int
) -> tuple[Shaped[Array, "Q count"], Int[Array, "Q count"], Shaped[Array, "Q"]]:
  """The `count` largest scores, their columns, and the largest of the others.

  Fewer where there are fewer, and then nothing for the largest of the others.
  """
  width = scores.shape[1]
  values, columns = top_values.largest(_as_floats(scores), count + 1)
  values = _from_floats(values, scores.dtype)
  if count >= width:
    return values, columns, jnp.full(len(scores), _nothing(scores.dtype))
  return values[:, :-1], columns[:, :-1], values[:, -1]


def _drop_traceless(values, found, others):
  """Candidates without those whose place may be lost, and the new bound.

  Hardware may read subnormal floats as zero, and a score of zero that carries
  a place is subnormal: it would name another row of its block.
  """
  traceless = jnp.abs(values) < _TRACELESS
  dropped = jnp.where(
    jnp.any(traceless, axis=1), _TRACELESS, top_values.NOTHING
  )
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
