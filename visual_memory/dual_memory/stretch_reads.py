"""The reads of a stream, many queries at once, each with its own memory.

Since writes do not depend on reads, the birth and the death of every item are
known beforehand (see lifetimes). For a stretch of the stream the memory is
  the slots as they were before its first query, each until it is replaced, and
  the stretch's own items, each from its birth until it is replaced,
and both are compared with all queries of the stretch by matrix products.
Stretches do not depend on each other, so every device of the mesh takes its
own. Results equal those of one query after the other but for rounding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from visual_memory import distributed
from visual_memory.distributed import on_devices
from visual_memory.dual_memory import lifetimes
from visual_memory.dual_memory.reading import dots, finish, project

STRETCH = 256
"""Queries that are read at once. With C x L = 50,000 slots the weights of a
stretch take 51 MB."""

_SHARED_WIDTH = 16
"""Stretches that share a program's number of slots, whatever the devices."""

_SLOT_STEP = 8
"""While slots are few, so are those that are read: multiples of this."""


def read_stream(
  memory, queries, labels, lives, *, fixed, projection, sharpness, order, mesh
) -> Float32[np.ndarray, "n C"]:
  """What each query of a stream reads; arguments as in `streams.stream`."""
  table, deaths, rows_of = _table(memory, queries, labels, lives)
  num_classes = len(memory.embeddings)
  shared = jax.tree.map(
    lambda leaf: distributed.replicate(np.asarray(leaf), mesh),
    (table, fixed.rows, fixed.mask, projection, np.float32(sharpness)),
  )
  base = len(table) - len(queries)
  pictures = lifetimes.items_at_stretches(
    lives, labels, book=memory.book, length=STRETCH
  )
  out = np.empty((len(queries), num_classes), np.float32)
  pending = []
  for together in _groups(enumerate(pictures), _SHARED_WIDTH):
    used = max(int((items >= 0).sum(axis=1).max()) for _, items in together)
    width = min(memory.embeddings.shape[1], _rounded(used))
    for group in _groups(together, mesh.size):
      stretches = [
        _stretch(
          rows_of(items)[:, :width], deaths, labels, lives,
          first=number * STRETCH, base=base, start=int(memory.book.time),
        )
        for number, items in group
      ]  # fmt: skip
      stretches += [_nothing(stretches[0])] * (mesh.size - len(stretches))
      arrays = [
        distributed.shard_rows(np.stack(parts), mesh)
        for parts in zip(*stretches, strict=True)
      ]
      pending.append(
        (group, on_devices(_FUNCTIONS[order], mesh, shared, *arrays))
      )
      if len(pending) > 1:
        _collect(out, *pending.pop(0))
  for group, result in pending:
    _collect(out, group, result)
  return out


def _table(memory, queries, labels, lives):
  """Every embedding that may be read, when it dies, and where it stands.

  A memory that was empty needs the queries alone; otherwise its slots come
  first. `rows_of` turns a picture of item numbers into rows of the table.
  """
  num_classes, num_slots, dim = memory.embeddings.shape
  start = int(memory.book.time)
  if not start:
    return queries, lives.deaths, lambda items: items
  first_deaths = np.full((num_classes, num_slots), lifetimes.NEVER, np.int32)
  early = np.flatnonzero((lives.evicted >= 0) & (lives.evicted < start))
  first_deaths[labels[early], lives.slots[early]] = early + start
  own = np.arange(num_classes * num_slots, dtype=np.int32)
  own = own.reshape(num_classes, num_slots)

  def rows_of(items):
    later = items - start + own.size
    return np.where(items >= start, later, np.where(items >= 0, own, -1))

  table = np.concatenate([memory.embeddings.reshape(-1, dim), queries])
  deaths = np.concatenate([first_deaths.ravel(), lives.deaths])
  return table, deaths, rows_of


def _stretch(items, deaths, labels, lives, *, first, base, start):
  """The arrays of one stretch: slots, their deaths, and its own queries."""
  part = slice(first, first + STRETCH)
  count = len(labels[part])
  pad = lambda array, value: np.pad(
    array, (0, STRETCH - count), constant_values=value
  )
  own = np.arange(first, first + count, dtype=np.int32)
  return (
    items.astype(np.int32),
    np.where(items >= 0, deaths[np.maximum(items, 0)], -1).astype(np.int32),
    pad(own + base, 0).astype(np.int32),
    pad(labels[part], 0),
    pad(lives.slots[part] >= 0, False),
    pad(lives.deaths[part], -1),
    # Padded queries come after everything, so they are seen by none.
    np.arange(first, first + STRETCH, dtype=np.int32) + np.int32(start),
  )


def _nothing(stretch):
  """A stretch for a device that has none: empty slots, no query."""
  items, deaths, own, labels, written, ends, times = stretch
  none = np.full_like(items, -1)
  return none, none, own * 0, labels * 0, written & False, ends * 0, times


def _collect(out, group, result):
  result = distributed.gather(result)
  for (number, _), rows in zip(group, result[: len(group)], strict=True):
    part = out[number * STRETCH : (number + 1) * STRETCH]
    part[:] = rows[: len(part)]


def _groups(values, size):
  """Lists of `size` values in their order, the last perhaps shorter."""
  group = []
  for value in values:
    group.append(value)
    if len(group) == size:
      yield group
      group = []
  if group:
    yield group


def _rounded(count: int) -> int:
  return max(1, -(-count // _SLOT_STEP)) * _SLOT_STEP


def _read_stretch(shared, *arrays, order):
  """The cosines of one device's one stretch, [1, B, C]."""
  table, fixed_rows, fixed_mask, projection, sharpness = shared
  items, slot_deaths, own, labels, written, deaths, times = (
    array[0] for array in arrays
  )
  queries = table[own]
  rows = jnp.concatenate([table[jnp.maximum(items, 0)], fixed_rows], axis=1)
  visible = _visible_slots(items, slot_deaths, times, order)
  mask = jnp.concatenate(
    [visible, jnp.broadcast_to(fixed_mask[..., None], (
      *fixed_mask.shape, len(times)))], axis=1,
  )  # fmt: skip
  keys, values = project(rows, projection)
  new_keys, new_values = projection.rows(queries, labels)
  asked = projection.queries(queries)
  plain = values is keys and asked is queries
  return _merge(
    (dots(keys, asked), None if plain else dots(values, queries), values, mask),
    (_products(new_keys, asked), None if plain else _products(
      new_values, queries), new_values, _visible_new(
        written, deaths, times, order)),
    labels, queries, projection.offsets(), sharpness,
  )[None]  # fmt: skip


def _visible_slots(items, deaths, times, order):
  """Which of the older items each query still sees, [C, P, B]."""
  last = deaths - (0 if order == "read_first" else 1)
  return (items >= 0)[..., None] & (last[..., None] >= times[None, None])


def _visible_new(written, deaths, times, order):
  """Which items of the stretch (rows) each of its queries (columns) sees."""
  first = times + (0 if order == "write_first" else 1)
  last = deaths - (0 if order == "read_first" else 1)
  return (
    written[:, None]
    & (first[:, None] <= times[None])
    & (last[:, None] >= times[None])
  )


def _merge(old, new, labels, queries, offsets, sharpness):
  """The cosines of the slots and the stretch's own items together, [B, C]."""
  old_like, old_onto, old_values, old_mask = old
  new_like, new_onto, new_values, new_mask = new
  projected = old_onto is not None
  old_onto = old_onto if projected else old_like
  new_onto = new_like if new_onto is None else new_onto
  num_classes = old_like.shape[0]
  total = functools.partial(
    jax.ops.segment_sum, segment_ids=labels, num_segments=num_classes
  )
  old_like = jnp.where(old_mask, sharpness * old_like, -jnp.inf)
  new_like = jnp.where(new_mask, sharpness * new_like, -jnp.inf)
  top = jnp.maximum(
    jnp.max(old_like, axis=1),
    jax.ops.segment_max(new_like, labels, num_segments=num_classes),
  )
  seen = top > -jnp.inf
  top = jnp.where(seen, top, 0)
  old_weights = jnp.exp(old_like - top[:, None])
  new_weights = jnp.exp(new_like - top[labels])
  onto = jnp.sum(old_weights * old_onto, axis=1)
  onto += total(new_weights * new_onto)
  squares = jnp.sum(old_weights * _mixed(old_values, old_weights), axis=1)
  # Unprojected, the items of the stretch are its queries: compared already.
  with_old = (
    jnp.einsum(
      "jpd,jd->jp", old_values[labels], new_values, precision="highest"
    )
    if projected
    else old_onto[labels, :, jnp.arange(len(labels))]
  )
  squares += total(
    new_weights * _mixed_new(with_old, old_weights, new_values, new_weights,
                             labels)
  )  # fmt: skip
  along = None
  if offsets is not None:
    shares = jnp.einsum("cpd,cd->cp", old_values, offsets, precision="highest")
    along = jnp.sum(old_weights * shares[..., None], axis=1)
    shares = jnp.sum(new_values * offsets[labels], axis=1)
    along += total(new_weights * shares[:, None])
  cosines = finish(onto, squares, along, queries, offsets)
  return jnp.where(seen, cosines, -jnp.inf).T


def _mixed(values, weights):
  """sum_q V_p.V_q w_q, within each class, [C, P, B]."""
  gram = jnp.einsum("cpd,cqd->cpq", values, values, precision="highest")
  return jnp.einsum("cpq,cqb->cpb", gram, weights, precision="highest")


def _mixed_new(with_old, old_weights, new_values, new_weights, labels):
  """Twice with the old of its class, once with the new, [B, B]."""
  cross = jnp.einsum(
    "jp,jpb->jb", with_old, old_weights[labels], precision="highest"
  )
  gram = _products(new_values, new_values)
  gram = jnp.where(labels[:, None] == labels[None], gram, 0)
  return 2 * cross + jnp.matmul(gram, new_weights, precision="highest")


def _products(left, right):
  return jnp.matmul(left, right.T, precision="highest")


_FUNCTIONS = {
  order: functools.partial(_read_stretch, order=order)
  for order in ("write_first", "exclude_self", "read_first")
}
