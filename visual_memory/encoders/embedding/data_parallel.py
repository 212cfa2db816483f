"""Batches of images through an encoder, their rows split over the devices."""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from visual_memory import distributed
from visual_memory.data.batching import HostBatch, Skipped
from visual_memory.encoders.embedding.blocks import Block
from visual_memory.encoders.embedding.device_resize import DeviceResize
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.outputs import unit_rows
from visual_memory.types import Array

_IN_FLIGHT = 2
"""Batches that the devices may lag behind the host."""


def local_mesh(mesh: Mesh) -> Mesh:
  """This process's own devices of a mesh, in their order.

  Embedding needs no communication, so processes never wait for each other.
  """
  return Mesh(
    np.asarray(mesh.local_devices),
    (distributed.DATA,),
    axis_types=(AxisType.Auto,),
  )


def embed_batches(
  encoder: Encoder,
  host_batches: Iterable[HostBatch],
  *,
  mesh: Mesh,
  kept: DeviceResize | None = None,
) -> Iterator[Block]:
  """The results of batches of images, in their order.

  The devices lag behind: while they compute, the host reads the next batches.

  Args:
    encoder: whose params are copied to every device once.
    host_batches: of one size, a multiple of the number of devices.
    mesh: devices of this process alone (`local_mesh`).
    kept: makes pixels of the batches' images, where they are none yet.
  """
  params = jax.device_put(encoder.params, distributed.replicated(mesh))
  rows_of_devices = distributed.row_sharding(mesh)
  in_flight = collections.deque()
  for batch in host_batches:
    images = jax.device_put(batch.data.images, rows_of_devices)
    if kept is not None:
      images = kept.pixels(images, mesh=mesh)
    output = _sharded_unit_rows(encoder.apply, mesh, params, images)
    rows, mask = batch.rows.astype(np.int32), batch.data.mask
    in_flight.append((rows, mask, output, batch.skipped))
    del batch, images  # The devices hold the pixels for as long as they must.
    if len(in_flight) > _IN_FLIGHT:
      yield _block(*in_flight.popleft())
  while in_flight:
    yield _block(*in_flight.popleft())


def _block(
  rows: np.ndarray,
  mask: np.ndarray,
  output: jax.Array,
  skipped: tuple[Skipped, ...],
) -> Block:
  """The real rows of a batch's output, once the devices have it."""
  embeddings = np.asarray(output)
  if not mask.all():
    rows, embeddings = rows[mask], embeddings[mask]
  return Block(rows=rows, embeddings=embeddings, skipped=skipped)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sharded_unit_rows(
  apply: Callable[..., jax.Array], mesh: Mesh, params: Any, images: Array
) -> jax.Array:
  """Unit embeddings of row-sharded images, [B, D].

  Under shard_map each device runs the program of its own rows, the same for
  any number of devices; left to itself the partitioner might choose another.
  """
  rows = PartitionSpec(distributed.DATA)
  return jax.shard_map(
    lambda params, images: unit_rows(apply(params, images)),
    mesh=mesh,
    in_specs=(PartitionSpec(), rows),
    out_specs=rows,
    check_vma=False,
  )(params, images)
