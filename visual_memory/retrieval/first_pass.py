"""The first pass over one shard: a score for every row, two kept per lane.

One matrix product per tile of rows gives an upper bound of every similarity.
Of each lane of rows only the two largest bounds are kept, each carrying its
row's place within the lane in its lowest bits, so one read of the scores is
all that selection costs. What becomes of them is in candidates.py.
"""

import dataclasses
import typing

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from visual_memory.memory.coarse import coarsen
from visual_memory.memory.rows import Rows
from visual_memory.retrieval import top_values
from visual_memory.retrieval.tiling import Tiling

_NOTHING_INT = -(2**29)
_LENGTHS = (2.0**-40, 2.0**60)
"""Of queries whose squared entries neither underflow nor overflow."""
_MOST_LIFTED = 2.0**28
"""Added to the largest int8 score, 2**29, it stays below 2**30, as do the
floats that the bits of scores are compared as."""


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
  slack = rounding(queries) + lengths * 2.0**-23 * 64  # Place in lane.
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
  return jnp.where(rows.mask[None], result, no_score(result.dtype))


def lifts(prepared: Prepared, rows: Rows) -> Int[Array, "T"] | None:
  """What int8 scores of rows lack, for all queries alike; multiples of 64."""
  if rows.precision != "int8":
    return None
  beyond = jnp.maximum(rows.coarse.residuals - prepared.least_residual, 0)
  return 64 * jnp.ceil(beyond * prepared.lift / 64).astype(jnp.int32)


def no_score(dtype) -> Array:
  """Below every score of this type."""
  return jnp.asarray(
    _NOTHING_INT if dtype == jnp.int32 else top_values.NOTHING, dtype
  )


def two_best_per_lane(
  scores: Shaped[Array, "Q T"],
  lane: int,
  lifts: Int[Array, "T"] | None = None,
) -> tuple[Shaped[Array, "Q M"], Shaped[Array, "Q M"]]:
  """The largest and second largest score of every lane, tagged.

  Lane b of M = T / lane holds columns b, b + M, b + 2M, ...; the place of a
  column within its lane replaces the lowest bits of its score. Lifts, whole
  multiples of 64, are added to the scores of their columns.
  """
  width = scores.shape[1] // lane

  def tagged(place):
    columns = slice(place * width, (place + 1) * width)
    values = (bits(scores[:, columns]) & ~(lane - 1)) | place
    if lifts is not None:
      values = values + lifts[None, columns]
    return _from_bits(values, scores.dtype)

  # Plain maxima of slices become one pass at the speed of memory; a reduction
  # over places, written as such, takes a CPU several times as long.
  best, second = tagged(0), tagged(1)
  best, second = jnp.maximum(best, second), jnp.minimum(best, second)
  for place in range(2, lane):
    score = tagged(place)
    second = jnp.maximum(second, jnp.minimum(best, score))
    best = jnp.maximum(best, score)
  return best, second


def bits(values: Array) -> Array:
  """The bits of int32 or float32 scores, as int32."""
  if values.dtype == jnp.int32:
    return values
  return lax.bitcast_convert_type(values, jnp.int32)


def _from_bits(bits: Array, dtype) -> Array:
  return bits if dtype == jnp.int32 else lax.bitcast_convert_type(bits, dtype)


def kept_scores(
  prepared: Prepared, rows: Rows, start: Int[Array, ""], tiling: Tiling
) -> tuple[Shaped[Array, "Q M"], Shaped[Array, "Q M"]]:
  """The two best scores of every lane of a super-tile, tagged.

  Args:
    prepared: the queries.
    rows: the shard.
    start: where its super-tile begins.
    tiling: static sizes.

  Returns:
    The largest and the second largest of M = super_rows / lane lanes, tile
    by tile.
  """
  per_tile = tiling.rows // tiling.lane
  integers = prepared.values.dtype == jnp.int8
  dtype = jnp.int32 if integers else jnp.float32
  nothing = jnp.full(
    (prepared.values.shape[0], tiling.super_rows // tiling.lane),
    no_score(dtype),
  )

  def tile(i, kept):
    begin = start + i * tiling.rows
    part = jax.tree.map(
      lambda x: (
        lax.dynamic_slice_in_dim(x, begin, tiling.rows) if x.ndim else x
      ),
      rows,
    )
    new = two_best_per_lane(
      scores(prepared, part, masked=tiling.masked),
      tiling.lane,
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
