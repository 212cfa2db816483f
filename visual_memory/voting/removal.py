"""The vote without each of its neighbors in turn, from one retrieval.

  near = search(queries, memory, k=k + 1)
  without = predict_without_each(near, setting("rank"), k=k, num_classes=10)
  without[q, j]   # what query q is told once its neighbor j is removed

Removing a row that is not among the first k changes nothing. Removing the j-th
moves the neighbors behind it up by one and lets neighbor k + 1 in. With

  S(c) = sum of the weights of class c among the neighbors that are left,

each at its new rank, going from j to j - 1 changes two sums. So all k removals
cost k * min(C, k + 1) comparisons for each query, for any voter.

The running sums round differently from a vote that starts over. Where two
classes are closer than that rounding (all true ties among them), and where
every weight is negligible, the vote is counted again in order: the answer is
always that of `vote` on the memory without the row, ties included.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int32

from visual_memory.types import Array, Neighbors
from visual_memory.voting import counting, vote_input, weighting
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import Setting

_TILE = 256
"""Queries per call: their running sums stay in a core's cache."""

_RECOUNTED = 1 << 15
"""Votes counted again at once."""

_ROUNDING = 1e-12
"""More than 2 k additions of float64 can be off by, relative to all weights."""


_ID_BITS = 15


def predict_without_each(
  near: Neighbors,
  setting: Setting,
  *,
  k: int,
  num_classes: int,
  factors: Float[Array, "Q m"] | None = None,
) -> Int32[np.ndarray, "Q k"]:
  """The prediction by k neighbors when one of them is removed, for each.

  Args:
    near: at least k + 1 neighbors of each query.
    setting: how they vote.
    k: how many vote, before and after the removal.
    num_classes: C; every label must be below it.
    factors: multiply the weights of the neighbors, as in `vote`.

  Returns:
    Entry [q, j] is what query q is told after its neighbor j is removed.

  Raises:
    ValueError: fewer than k + 1 neighbors, or as for `vote`.
  """
  vote_input.ks((k,), near.k)
  if near.k < k + 1:
    raise ValueError(
      f"There are {near.k} neighbors of each query: removing one of k = {k}"
      " lets the next one in, so search for k + 1."
    )
  labels = vote_input.labels(near.labels[:, : k + 1], num_classes)
  similarities = vote_input.finite(
    near.similarities[:, : k + 1], "similarities"
  )
  if factors is None:
    factors = np.ones(labels.shape)
  else:
    factors = vote_input.weights(factors, "factors", near.labels.shape)
    factors = factors[:, : k + 1]
  tile = functools.partial(
    _tile_without_each,
    hyper=dict(setting.hyper),
    voter=setting.voter,
    num_classes=num_classes if 1 < num_classes <= k + 1 else 0,
    # Counts are exact, and so are their ties: no need to count again.
    counted=setting.voter == "plurality" and bool((factors == 1).all()),
  )
  predictions = np.empty((len(labels), k), np.int32)
  unsure = np.empty((len(labels), k), bool)
  arrays = (labels, similarities, factors)
  with jax.enable_x64(True):
    pending = [(queries, tile(*padded)) for queries, padded in _tiles(arrays)]
  for queries, found in pending:
    count = queries.stop - queries.start
    predictions[queries] = np.asarray(found[0]).T[:count]
    unsure[queries] = np.asarray(found[1]).T[:count]
  _recount(predictions, unsure, arrays, setting, k=k, num_classes=num_classes)
  return predictions


@functools.partial(jax.jit, static_argnames=("voter", "num_classes", "counted"))
def _tile_without_each(
  labels, similarities, factors, *, hyper, voter, num_classes, counted
):
  """Predictions and which are unsure, [k, T]; column 0 is always unsure.

  num_classes: the number of sums to keep; 0 keeps one for each neighbor, that
  of the class whose first member it is.
  """
  weigh = functools.partial(weighting.rule(voter).weigh, **hyper)
  similarities = similarities.astype(jnp.float64)
  weights = weigh(similarities)
  # What the third neighbor onwards weigh once the second has gone, relative
  # to the same nearest one. Its own removal is left to the recount.
  moved = weigh(jnp.delete(similarities, 1, axis=1, assume_unique_indices=True))
  moved = jnp.concatenate([weights[:, :2], moved[:, 1:]], axis=1)
  voting = jnp.where(labels >= 0, factors, 0.0)
  weights, moved = (weights * voting).T, (moved * voting).T  # [k + 1, T]
  labels = labels.T
  slots, num_slots = _slots(labels, num_classes)
  last, before = _last_places(labels, slots, num_slots)
  # Of equal counts, the one that was reached first wins: less for later.
  late = 1 / (2.0 * len(labels)) if counted else 0.0
  table = _sums(slots, weights.at[-1].set(moved[-1]), num_slots) - late * last
  # (A negligible best is not told from the sums of nobody, which are zero.)
  margin = 0.0 if counted else 1e-200 + _ROUNDING * weights.sum(0)
  queries = jnp.arange(labels.shape[1])
  coded_ids = jnp.arange(num_slots, dtype=jnp.int32)[:, None] + (1 << _ID_BITS)
  last_of = jnp.take_along_axis(last, slots, axis=0)

  def step(table, neighbor):
    place, slot, weight, moved_weight, last_of, before = neighbor
    held = table[slot, queries]
    changed = late * jnp.where(last_of == place, last_of - before, 0)
    # Both updates in place, one after the other: the table is not copied.
    table = table.at[slot, queries].set(held - weight + changed)
    close = table >= (table.max(0) - margin)[None]
    # How many are close, and which one it is, in a single sum.
    coded = jnp.where(close, coded_ids, 0).sum(0, dtype=jnp.int32)
    table = table.at[slot, queries].set(held - weight + moved_weight)
    return table, coded

  places = jnp.arange(1, len(labels) + 1, dtype=jnp.float64)
  neighbors = (places, slots, weights, moved, last_of, before)
  _, coded = lax.scan(
    step, table, jax.tree.map(lambda x: x[:-1], neighbors), reverse=True
  )
  unsure = coded >> _ID_BITS != 1
  winners = jnp.where(unsure, 0, coded & ((1 << _ID_BITS) - 1))
  if not num_classes:
    winners = jnp.take_along_axis(labels, winners, axis=0)
  return winners, unsure.at[0].set(True)


def _slots(labels, num_classes):
  """Which sum each neighbor adds to, [k + 1, T], and how many sums."""
  if num_classes:
    return jnp.maximum(labels, 0), num_classes
  same = labels[None] == labels[:, None]
  return jnp.argmax(same, axis=1).astype(jnp.int32), len(labels)


def _last_places(labels, slots, num_slots):
  """The last place of each sum, and each neighbor's place before its own."""
  places = jnp.arange(1, len(labels) + 1, dtype=jnp.float64)[:, None]
  places = jnp.broadcast_to(places, labels.shape)
  empty = jnp.zeros((num_slots, labels.shape[1]))
  queries = jnp.broadcast_to(jnp.arange(labels.shape[1])[None], labels.shape)
  last = empty.at[slots, queries].max(jnp.where(labels >= 0, places, 0.0))
  return last, counting.previous_of_class(labels).astype(jnp.float64)


def _sums(slots, weights, num_slots):
  """The sums [num_slots, T] of all k + 1 neighbors."""
  queries = jnp.broadcast_to(jnp.arange(slots.shape[1])[None], slots.shape)
  return jnp.zeros((num_slots, slots.shape[1])).at[slots, queries].add(weights)


def _recount(predictions, unsure, arrays, setting, *, k, num_classes):
  """Counts the unsure votes again, in order, into the predictions."""
  queries, places = np.nonzero(unsure)
  labels, similarities, factors = arrays
  for start in range(0, len(queries), _RECOUNTED):
    query = queries[start : start + _RECOUNTED, None]
    place = places[start : start + _RECOUNTED, None]
    left = np.arange(k)[None]
    left = left + (left >= place)  # The neighbors that are left, [M, k].
    remaining = Neighbors(
      ids=np.empty(left.shape, object),
      indices=left,
      labels=labels[query, left],
      similarities=similarities[query, left],
    )
    predictions[query[:, 0], place[:, 0]] = predict(
      remaining,
      [setting],
      ks=(k,),
      num_classes=num_classes,
      factors=factors[query, left],
    )[0, 0]


def _tiles(arrays):
  """Slices of queries with their arrays, the last ones padded."""
  num_queries = len(arrays[0])
  for start in range(0, num_queries, _TILE):
    stop = min(start + _TILE, num_queries)
    padding = ((0, start + _TILE - stop), (0, 0))
    yield slice(start, stop), [np.pad(x[start:stop], padding) for x in arrays]
