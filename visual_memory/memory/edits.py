"""Edits of the rows on the devices: pure functions over sharded arrays.

Every edit names slots. Each device touches only its own rows, nothing is
gathered, and the number of slots is padded to a power of two, so edits of
similar size share one compiled program. Row contents are written whole: a
cleared row is zeros, with label UNLABELED and serial EMPTY. An edit that copies
what is large and lies in the host's memory is made by the host.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int

from visual_memory import distributed
from visual_memory.memory import buffers
from visual_memory.memory import coarse as coarse_lib
from visual_memory.memory.rows import EMPTY, SHARDED, Rows, row_specs
from visual_memory.types import UNLABELED

_MIN_PADDED = 8


def write_rows(
  rows: Rows,
  mesh: Mesh,
  slots: np.ndarray,
  *,
  embeddings: np.ndarray,
  labels: np.ndarray,
  serials: np.ndarray,
  donate: bool,
) -> Rows:
  """Rows with these slots (distinct, [M]) overwritten by new contents."""
  slots, embeddings, labels, serials = _pad(
    rows, slots, embeddings, labels, serials
  )
  new = Rows(
    embeddings=jnp.asarray(embeddings),
    labels=jnp.asarray(labels),
    serials=jnp.asarray(serials),
  )
  if rows.originals is not None:
    new = dataclasses.replace(new, originals=new.embeddings)
  if rows.coarse is not None:
    new = dataclasses.replace(
      new,
      coarse=_coarsened(new.embeddings, rows.coarse.scale, rows.precision),
    )
  if not donate and _is_for_host(rows):
    return _written_by_host(rows, slots, new)
  edit = _write_donated if donate else _write
  return edit(rows, slots, new, mesh=mesh)


def clear_rows(
  rows: Rows, mesh: Mesh, slots: np.ndarray, *, donate: bool
) -> Rows:
  """Rows with these slots emptied: no bit of the old contents is kept."""
  count, dim = len(slots), rows.embeddings.shape[1]
  return write_rows(
    rows,
    mesh,
    slots,
    embeddings=np.zeros((count, dim), np.float32),
    labels=np.full(count, UNLABELED, np.int32),
    serials=np.full(count, EMPTY, np.int32),
    donate=donate,
  )


def write_labels(
  rows: Rows, mesh: Mesh, slots: np.ndarray, labels: np.ndarray, *, donate: bool
) -> Rows:
  """Rows with new labels at these slots, sharing no array with the old."""
  slots, labels = _pad(rows, slots, np.asarray(labels, np.int32))
  if not donate:
    rows = copied(rows)
  new = _relabel(rows.labels, slots, jnp.asarray(labels), mesh=mesh)
  return dataclasses.replace(rows, labels=new)


def copied(rows: Rows) -> Rows:
  """The same rows, sharing no array with these."""
  return jax.tree.map(buffers.copied if _is_for_host(rows) else jnp.copy, rows)


def _is_for_host(rows: Rows) -> bool:
  """Whether the host copies these rows, faster than a program would."""
  large = rows.embeddings.nbytes > buffers.LARGE_BYTES
  return large and buffers.reachable(rows.embeddings)


def _written_by_host(rows: Rows, slots: np.ndarray, new: Rows) -> Rows:
  """A copy of rows with new contents at these slots."""

  def written(old, value):
    value = np.asarray(value)

    def write(own, start):
      mine = (slots >= start) & (slots < start + len(own))
      own[slots[mine] - start] = value[mine]

    return buffers.copied(old, write)

  return jax.tree.map(written, rows, new)


def _pad(rows: Rows, slots: np.ndarray, *contents: np.ndarray):
  """Slots and contents padded to a power of two; padding is out of range."""
  count = len(slots)
  padded = max(_MIN_PADDED, 1 << (count - 1).bit_length())
  extra = padded - count
  slots = np.pad(
    slots.astype(np.int32), (0, extra), constant_values=len(rows.labels)
  )
  widths = [((0, extra),) + ((0, 0),) * (c.ndim - 1) for c in contents]
  return slots, *(np.pad(c, w) for c, w in zip(contents, widths, strict=True))


def _local(slots: Int[Array, "M"], size: int) -> Int[Array, "M"]:
  """Slots relative to this device's rows; other devices' become `size`."""
  local = slots - jax.lax.axis_index(distributed.DATA) * size
  return jnp.where((local >= 0) & (local < size), local, size)


_coarsened = jax.jit(coarse_lib.coarsen, static_argnames="precision")


def _write_impl(rows, slots, new, *, mesh):
  def write(rows, slots, new):
    slots = _local(slots, rows.labels.shape[0])
    return jax.tree.map(
      lambda old, value: (
        old.at[slots].set(value, mode="drop") if old.ndim else old
      ),
      rows,
      new,
    )

  return jax.shard_map(
    write,
    mesh=mesh,
    in_specs=(row_specs(rows), PartitionSpec(), PartitionSpec()),
    out_specs=row_specs(rows),
  )(rows, slots, new)


@functools.partial(jax.jit, static_argnames="mesh", donate_argnums=0)
def _relabel(old, slots, labels, *, mesh):
  def write(old, slots, labels):
    return old.at[_local(slots, old.shape[0])].set(labels, mode="drop")

  return jax.shard_map(
    write,
    mesh=mesh,
    in_specs=(SHARDED, PartitionSpec(), PartitionSpec()),
    out_specs=SHARDED,
  )(old, slots, labels)


_write = jax.jit(_write_impl, static_argnames="mesh")
_write_donated = jax.jit(_write_impl, static_argnames="mesh", donate_argnums=0)


@functools.partial(jax.jit, static_argnames=("mesh",))
def _take(rows: Rows, sources: Int[Array, "M"], *, mesh: Mesh) -> Rows:
  """Rows gathered from these slots; a negative source gives an empty row."""
  found = sources >= 0
  empty = Rows(embeddings=0.0, labels=UNLABELED, serials=EMPTY)
  if rows.coarse is not None:
    empty = dataclasses.replace(
      empty, coarse=coarse_lib.Coarse(values=0, scale=0, residuals=0.0)
    )
  if rows.originals is not None:
    empty = dataclasses.replace(empty, originals=0.0)

  def move(old, default):
    if not old.ndim:
      return old
    new = jnp.take(old, jnp.maximum(sources, 0), axis=0)
    keep = found.reshape(found.shape + (1,) * (old.ndim - 1))
    new = jnp.where(keep, new, jnp.asarray(default, old.dtype))
    return jax.lax.with_sharding_constraint(new, distributed.row_sharding(mesh))

  return jax.tree.map(move, rows, empty)


def lay_out(rows: Rows, mesh: Mesh, sources: np.ndarray) -> Rows:
  """New rows whose slot s holds what was in slot sources[s] (-1: empty).

  Rows move between devices; this is the one edit that costs the whole memory.
  """
  return _take(
    rows, distributed.shard_rows(sources.astype(np.int32), mesh), mesh=mesh
  )
