"""Which rows may be among the nearest, by what the first pass kept.

The candidates are the rows of the largest kept scores. For every query there is
also a bound that no row outside of them exceeds: the certificate is made of
that.
"""

import dataclasses
import typing

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from visual_memory.memory.rows import Rows
from visual_memory.retrieval import first_pass, top_values
from visual_memory.retrieval.first_pass import Prepared
from visual_memory.retrieval.tiling import Tiling

_TRACELESS = 2.0**-100
"""Scores below this may be flushed to zero, and their low bits with them."""
_ONE_BITS = 0x3F800000  # float32 1.0


@typing.no_type_check  # Also rebuilt without the axis of queries.
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked:
  """Rows that may be among the nearest, in batches, the most likely first.

  Attributes:
    slots: within the shard, or -1, [Q, n, s].
    bounds: a similarity that no row of a batch exceeds, descending, [Q, n].
  """

  slots: Int[Array, "Q n s"]
  bounds: Float[Array, "Q n"]

  @property
  def flat(self) -> Int[Array, "Q M"]:
    """The slots of all batches, one after the other."""
    return self.slots.reshape(len(self.slots), -1)

  def batches(self, start: int, stop: int | None = None) -> "Ranked":
    """Those from `start` up to `stop`."""
    return jax.tree.map(lambda x: x[:, start:stop], self)


def list_candidates(
  prepared: Prepared,
  rows: Rows,
  start: Int[Array, ""],
  tiling: Tiling,
) -> tuple[Ranked, Ranked, Float[Array, "Q"]]:
  """Rows that may be among the nearest, and a bound on all the others.

  The best row of each of the `num_candidates` best lanes, and all rows of
  those among these lanes whose second is largest, the `num_opened` opened
  ones. What is not listed is the best row of another lane at most, or the
  second of one that is not opened: a row that is not kept is no better.

  Args:
    prepared: the queries.
    rows: the shard.
    start: where its super-tile begins.
    tiling: static sizes.

  Returns:
    The best rows; the rows of opened lanes, without these; and a bound,
    slack included as in all bounds: a row of the super-tile that is not listed
    has at most this similarity, [Q]. (So has a row that is listed in spite of
    what bounds its batch: one whose place was lost, see `_drop_traceless`.)
  """
  best, second = first_pass.kept_scores(prepared, rows, start, tiling)
  per_tile = tiling.rows // tiling.lane
  values, lanes, others = _leading(best, tiling.num_candidates)
  first_row = start + lanes // per_tile * tiling.rows + lanes % per_tile
  place = first_pass.bits(values) & (tiling.lane - 1)
  found = first_row + place * per_tile
  seconds, opened, hidden = _leading(
    jnp.take_along_axis(second, lanes, axis=1), tiling.num_opened
  )
  others = jnp.maximum(others, hidden)
  first_row, place = (
    jnp.take_along_axis(x, opened, axis=1)[:, :, None]
    for x in (first_row, place)
  )
  places = jnp.arange(tiling.lane, dtype=jnp.int32)[None, None]
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
  slots: Int[Array, "Q m b"], bounds: Float[Array, "Q m"], size: int
) -> Ranked:
  """Groups of rows, descending by their bounds, as batches of `size` rows."""
  num_queries, count, per_group = slots.shape
  together = max(1, size // per_group)
  extra = -count % together
  slots = jnp.pad(slots, ((0, 0), (0, extra), (0, 0)), constant_values=-1)
  bounds = jnp.pad(bounds, ((0, 0), (0, extra)), constant_values=-jnp.inf)
  return Ranked(
    slots=slots.reshape(num_queries, -1, together * per_group),
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
    return (
      values,
      columns,
      jnp.full(len(scores), first_pass.no_score(scores.dtype)),
    )
  return values[:, :-1], columns[:, :-1], values[:, -1]


def _drop_traceless(values, found, others):
  """Candidates without those whose place may be lost, and the new bound.

  Hardware may read subnormal floats as zero, and a score of zero that carries
  a place is subnormal: it would name another row of its lane.
  """
  traceless = jnp.abs(values) < _TRACELESS
  dropped = jnp.where(
    jnp.any(traceless, axis=1), _TRACELESS, top_values.NOTHING
  )
  return jnp.where(traceless, -1, found), jnp.maximum(others, dropped)


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
