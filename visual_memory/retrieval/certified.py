"""Certified exact search: one canonical similarity, and a proof per query.

The similarity of a query and a row is their dot product in float64, rounded to
float32. Float32 products are exact in float64 and the sum's error (about
1e-16) is far below float32 rounding, so the result does not depend on tile
sizes, batch sizes, devices or processes. It is computed for the candidates of
the first pass alone. With v the k-th largest of these and b the bound on all
other rows, a query is certified if v > b + slack: then no other row can be
among the k nearest, nor tie with them.
"""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Bool, Float, Int

from visual_memory import distributed
from visual_memory.memory.edits import Rows, row_specs
from visual_memory.retrieval import first_pass, select
from visual_memory.retrieval.tiling import Tiling
from visual_memory.types import Array

_LAST = jnp.iinfo(jnp.int32).max
_FEW_BYTES = 32 * 2**20
"""Candidates of all devices up to this size are gathered everywhere; larger
ones are exchanged, so that every device merges its share of the queries."""


@typing.no_type_check  # Also rebuilt with specs and fill values as leaves.
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """Rows found for Q queries; missing ones have slot -1 and sort last.

  Attributes:
    similarities: canonical, float32, [Q, M].
    serials: int32 order of insertion, [Q, M].
    slots: int32 position in the whole memory, [Q, M].
    labels: int32, [Q, M].
  """

  similarities: Float[Array, "Q M"]
  serials: Int[Array, "Q M"]
  slots: Int[Array, "Q M"]
  labels: Int[Array, "Q M"]


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
    return exact.astype(jnp.float32)


def best(found: Found, k: int) -> Found:
  """The first k in canonical order: similarity down, then serial up."""
  missing = k - found.slots.shape[1]
  if missing > 0:
    found = jax.tree.map(
      lambda x, fill: jnp.pad(x, ((0, 0), (0, missing)), constant_values=fill),
      found,
      _missing(),
    )
  ordered = lax.sort(
    (-found.similarities, found.serials, found.slots, found.labels),
    dimension=1,
    num_keys=2,
  )
  negated, serials, slots, labels = (x[:, :k] for x in ordered)
  return Found(
    similarities=-negated, serials=serials, slots=slots, labels=labels
  )


def look_up(
  scores: Float[Array, "Q M"],
  positions: Int[Array, "Q M"],
  rows: Rows,
  excluded: Int[Array, "Q"],
) -> Found:
  """Rows of this shard as found, empty and excluded ones as missing.

  Args:
    scores: canonical similarities.
    positions: within this shard; negative ones are missing.
    rows: the shard.
    excluded: slot that each query must not find (-1: none).
  """
  offset = lax.axis_index(distributed.DATA) * rows.labels.shape[0]
  at = jnp.maximum(positions, 0)
  slots = positions + offset
  real = is_real(positions, rows, excluded)
  values = Found(
    similarities=scores,
    serials=rows.serials[at],
    slots=slots,
    labels=rows.labels[at],
  )
  return jax.tree.map(
    lambda x, fill: jnp.where(real, x, jnp.asarray(fill, x.dtype)),
    values,
    _missing(),
  )


def is_real(
  positions: Int[Array, "Q M"], rows: Rows, excluded: Int[Array, "Q"]
) -> Bool[Array, "Q M"]:
  """Whether each position of this shard holds a row that may be found."""
  offset = lax.axis_index(distributed.DATA) * rows.labels.shape[0]
  held = rows.mask[jnp.maximum(positions, 0)]
  return (positions >= 0) & held & (positions + offset != excluded[:, None])


def nothing(num_queries: int, k: int) -> Found:
  """Found rows that are all missing: where merging begins."""
  return Found(
    similarities=jnp.full((num_queries, k), -jnp.inf, jnp.float32),
    serials=jnp.full((num_queries, k), _LAST, jnp.int32),
    slots=jnp.full((num_queries, k), -1, jnp.int32),
    labels=jnp.full((num_queries, k), -1, jnp.int32),
  )


def _missing() -> Found:
  return Found(similarities=-jnp.inf, serials=_LAST, slots=-1, labels=-1)


def search_shard(
  queries: Float[Array, "Q D"],
  rows: Rows,
  excluded: Int[Array, "Q"],
  *,
  k: int,
  tiling: Tiling,
) -> tuple[Found, Float[Array, "Q"]]:
  """This shard's k best, and a bound on the similarity of all its others.

  Runs inside shard_map over the DATA axis.
  """
  prepared = first_pass.prepare(queries, rows)

  def super_tile(i, carry):
    found, bound = carry
    positions, others = first_pass.candidates(
      prepared, rows, i * tiling.super_rows, tiling
    )
    real = is_real(positions, rows, excluded)
    scores, positions, cut = lax.map(
      lambda operand: rescore(*operand, rows.embeddings, tiling.num_exact),
      (queries, positions, real),
      batch_size=tiling.map_queries if tiling.map_queries > 1 else None,
    )
    new = look_up(scores, positions, rows, excluded)
    if num_steps > 1:
      new = jax.tree.map(
        lambda a, b: jnp.concatenate([a, b], axis=1), found, new
      )
    return best(new, k), jnp.maximum(bound, jnp.maximum(others, cut))

  num_queries = queries.shape[0]
  num_steps = rows.labels.shape[0] // tiling.super_rows
  bound = jnp.full(num_queries, select.NOTHING, jnp.float32)
  return lax.fori_loop(
    0, num_steps, super_tile, (nothing(num_queries, k), bound)
  )


def rescore(
  query: Float[Array, "D"],
  positions: Int[Array, "M"],
  real: Bool[Array, "M"],
  embeddings: Float[Array, "N D"],
  num_exact: int,
) -> tuple[Float[Array, "E"], Int[Array, "E"], Float[Array, ""]]:
  """Canonical similarities of the rows that may be best, and their positions.

  Float64 is dear: of more than num_exact rows, float32 products choose, and
  say what bounds the rows that were not chosen.
  """
  rows = embeddings[jnp.maximum(positions, 0)]
  if len(positions) <= num_exact:
    exact = similarities(query[None], rows[None])[0]
    return exact, positions, jnp.float32(-jnp.inf)
  scores = jnp.dot(rows, query, precision=lax.Precision.HIGHEST)
  scores = jnp.where(real, scores, -jnp.inf)
  values, columns = select.top_k(scores, num_exact + 1)
  columns = columns[:-1]
  exact = similarities(query[None], rows[columns][None])[0]
  cut = values[-1] + first_pass.rounding(query)
  # Nothing bounds the products of a query that is too long for float32.
  return exact, positions[columns], jnp.where(jnp.isnan(cut), jnp.inf, cut)


def _first(found: Found, count: int) -> tuple[Found, Float[Array, "Q"]]:
  """The first rows found, and a bound on the others."""
  if count >= found.slots.shape[1]:
    return found, jnp.full(len(found.slots), -jnp.inf, jnp.float32)
  cut = found.similarities[:, count]
  return jax.tree.map(lambda x: x[:, :count], found), cut


def merge_shards(found: Found, k: int, *, exchange: bool) -> Found:
  """The k best over all devices, on every device.

  One level suffices, also for slices of devices joined by a slower network:
  an exchange brings each device 16 Q M bytes however many devices there are
  (M falls as they grow in number: 0.2 MB for 1,024 queries, k = 100 and 256
  devices), and the merged rows are 16 Q k (1.6 MB). Merging within slices first
  would save a part of that and cost another round. Not measured on slices.

  Args:
    found: this device's M best, in order, [Q, M].
    k: as above.
    exchange: send each device its share of the queries (all_to_all), merge
      there and gather the merged rows, instead of gathering all candidates.
      Needs Q to divide over the devices; moves 1/devices of the bytes.
  """
  axis = distributed.DATA
  if lax.axis_size(axis) == 1:
    return found
  packed = _pack(found)
  if exchange:
    # [Q, 4M] -> [devices * Q/devices, 4M] -> [Q/devices, M * devices]
    parts = lax.all_to_all(packed, axis, 0, 0, tiled=True)
    parts = parts.reshape(lax.axis_size(axis), -1, packed.shape[1])
    share = best(_unpack(parts), k)
    return _unpack(lax.all_gather(_pack(share), axis, tiled=True)[None])
  return best(_unpack(lax.all_gather(packed, axis)), k)


def exchanges(
  num_queries: int,
  num_merged: int,
  num_devices: int,
  *,
  few_bytes: int = _FEW_BYTES,
) -> bool:
  """Whether candidates are exchanged by query rather than gathered."""
  return (
    16 * num_queries * num_merged * num_devices > few_bytes
    and num_queries % num_devices == 0
  )


def _pack(found: Found) -> Int[Array, "Q W"]:
  """All fields side by side in one array, so that they travel together."""
  bits = lax.bitcast_convert_type(found.similarities, jnp.int32)
  fields = (bits, found.serials, found.slots, found.labels)
  return jnp.concatenate(fields, axis=1)


def _unpack(packed: Int[Array, "S Q W"]) -> Found:
  """What S devices packed, the devices' M rows side by side, [Q, S * M]."""
  size, num_queries, _ = packed.shape
  fields = packed.reshape(size, num_queries, 4, -1).transpose(2, 1, 0, 3)
  bits, serials, slots, labels = fields.reshape(4, num_queries, -1)
  return Found(
    similarities=lax.bitcast_convert_type(bits, jnp.float32),
    serials=serials,
    slots=slots,
    labels=labels,
  )


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
  few_bytes: int = _FEW_BYTES,
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
  exchange = exchanges(
    queries.shape[0], tiling.num_merged, mesh.size, few_bytes=few_bytes
  )
  if floor is None:
    floor = jnp.full(queries.shape[0], -jnp.inf, jnp.float32)

  def shard(queries, rows, excluded, floor):
    found, bound = search_shard(queries, rows, excluded, k=k, tiling=tiling)
    found, cut = _first(found, tiling.num_merged)
    found = merge_shards(found, k, exchange=exchange)
    bound = lax.pmax(jnp.maximum(bound, cut), distributed.DATA)
    sure = jnp.maximum(found.similarities[:, -1], floor) > bound
    # All rows may be listed and still be fewer than k (of a block on disk).
    return found, sure | (bound <= select.NOTHING / 2)

  everywhere = PartitionSpec()
  return jax.shard_map(
    shard,
    mesh=mesh,
    in_specs=(everywhere, row_specs(rows), everywhere, everywhere),
    out_specs=everywhere,
    check_vma=False,  # Every device merges to the same rows.
  )(queries, rows, excluded, floor)
