"""The count: running sums per class, and who leads after each neighbor.

Pure functions over traced arrays, neighbors along the first axis and queries
along the last, so that every step works on whole rows of queries. A class's
sum grows in the order of the neighbors, as in a plain loop, so that in
float64 it is the loop's sum to the last bit, ties included. The work per
query is k * k integer comparisons, shared by all voters, and k additions per
voter; the number of classes plays no part.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32, Int32


def previous_of_class(labels: Int32[Array, "k Q"]) -> Int32[Array, "k Q"]:
  """The place of the last earlier neighbor of the same class.

  Places count from 1; 0 says that there is none. What a class has so far is
  then one look-up, however many classes there are.
  """
  places = _places(labels)

  def step(previous, neighbor):
    place, label = neighbor
    later = (places > place)[:, None]
    return jnp.where((labels == label[None]) & later, place, previous), None

  return lax.scan(step, jnp.zeros_like(labels), (places, labels))[0]


def leaders(
  labels: Int32[Array, "k Q"],
  previous: Int32[Array, "k Q"],
  weights: Float[Array, "k Q"],
) -> Int32[Array, "k Q"]:
  """The leading class after each neighbor.

  The lead passes to another class only if its sum is strictly greater: of two
  classes with equal sums, the one that reached the sum first leads. The first
  labelled neighbor leads even if its weight is zero.

  Args:
    labels: classes of the neighbors, best first; negative ones do not vote.
    previous: their `previous_of_class`, which any number of votes can share.
    weights: not negative.

  Returns:
    Entry i is the class chosen by the first i + 1 neighbors; -1 where none of
    them has a label.
  """

  def step(carry, neighbor):
    sums, best, leader = carry
    place, label, before, weight = neighbor
    total = weight + jnp.take_along_axis(
      sums, before[None], axis=0, mode="promise_in_bounds"
    ).squeeze(0)
    wins = (total > best) & (label >= 0)
    best = jnp.where(wins, total, best)
    leader = jnp.where(wins, label, leader)
    sums = lax.dynamic_update_index_in_dim(sums, total, place, 0)
    return (sums, best, leader), leader

  num_neighbors, num_queries = weights.shape
  start = (
    jnp.zeros((num_neighbors + 1, num_queries), weights.dtype),
    jnp.full(num_queries, -1, weights.dtype),
    jnp.full(num_queries, -1, jnp.int32),
  )
  neighbors = (_places(labels), labels, previous, weights)
  return lax.scan(step, start, neighbors)[1]


def _places(labels):
  """1 for the nearest neighbor, and so on: int32 [k]."""
  return jnp.arange(1, len(labels) + 1, dtype=jnp.int32)


def class_scores(
  labels: Int32[Array, "k Q"],
  weights: Float[Array, "k Q"],
  spans: Int32[Array, "K 2"],
  *,
  num_classes: int,
) -> Float32[Array, "K Q C"]:
  """The sum of the weights of each class, after each span of neighbors.

  Args:
    labels: classes of the neighbors, best first; negative ones do not vote.
    weights: one for each neighbor.
    spans: half-open ranges of neighbors, each starting where the last ended.
    num_classes: C.

  Returns:
    The sums over the first spans[i, 1] neighbors, made in the weights' dtype
    and rounded to float32 at the end.
  """
  queries = jnp.arange(labels.shape[1])
  columns = jnp.where(labels < 0, num_classes, labels)

  def add(place, table):
    return table.at[queries, columns[place]].add(
      weights[place], mode="drop", unique_indices=True
    )

  def step(table, span):
    table = lax.fori_loop(span[0], span[1], add, table)
    return table, table.astype(jnp.float32)

  start = jnp.zeros((labels.shape[1], num_classes), weights.dtype)
  return lax.scan(step, start, spans)[1]
