"""Merging what every device found, with as few bytes sent as possible."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from visual_memory import distributed
from visual_memory.retrieval import top_values
from visual_memory.retrieval.found import Found, best
from visual_memory.types import Array

FEW_BYTES = 32 * 2**20
"""Candidates of all devices up to this size are gathered everywhere; larger
ones are exchanged, so that every device merges its share of the queries."""


def merge_shards(found: Found, k: int, *, exchange: bool) -> Found:
  """The k best over all devices, on every device.

  One level suffices, also for slices of devices joined by a slower network:
  an exchange brings each device 16 Q M bytes however many devices there are
  (M falls as they grow in number: 0.2 MB for 1,024 queries, k = 100 and 256
  devices), and the merged rows are 16 Q k (1.6 MB). Merging within slices first
  would save a part of that and cost another round. Not measured on slices.

  Args:
    found: this device's M best, in any order, [Q, M].
    k: as above.
    exchange: send each device its share of the queries (all_to_all), merge
      there and gather the merged rows, instead of gathering all candidates.
      Needs Q to divide over the devices; moves 1/devices of the bytes.
  """
  axis = distributed.DATA
  if lax.axis_size(axis) == 1:
    return best(found, k)
  packed = _pack(found)
  if exchange:
    # [Q, 4M] -> [devices * Q/devices, 4M] -> [Q/devices, M * devices]
    parts = lax.all_to_all(packed, axis, 0, 0, tiled=True)
    parts = parts.reshape(lax.axis_size(axis), -1, packed.shape[1])
    share = best(_unpack(parts), k)
    return _unpack(lax.all_gather(_pack(share), axis, tiled=True)[None])
  return best(_unpack(lax.all_gather(packed, axis)), k)


def reached(
  similarities: Float[Array, "Q M"],
  k: int,
  num_merged: int,
  *,
  exchange: bool,
) -> Float[Array, "Q"]:
  """What k rows of all devices reach at least, [Q]; -inf if there are fewer.

  Args:
    similarities: of rows of this device, -inf for missing ones.
    k: rows.
    num_merged: of this device's rows, how many the others are told of.
    exchange: as of `merge_shards`.
  """
  axis = distributed.DATA
  devices = lax.axis_size(axis)
  if devices > 1:
    similarities, _ = top_values.top_k(
      similarities, min(num_merged, similarities.shape[1])
    )
    if exchange:
      similarities = lax.all_to_all(similarities, axis, 0, 1, tiled=True)
    else:
      similarities = lax.all_gather(similarities, axis, axis=1, tiled=True)
  if similarities.shape[1] < k:
    lowest = jnp.full(len(similarities), -jnp.inf, jnp.float32)
  else:
    lowest = top_values.top_k(similarities, k)[0][:, -1]
  if devices > 1 and exchange:
    lowest = lax.all_gather(lowest, axis, tiled=True)
  return lowest


def exchanges(
  num_queries: int,
  num_merged: int,
  num_devices: int,
  *,
  few_bytes: int = FEW_BYTES,
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
