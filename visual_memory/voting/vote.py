"""From neighbors to predictions, for every k at once.

  votes = vote(near)                                 # by rank, all neighbors
  votes = vote(near, voter="softmax", ks=(1, 10, 100), temperature=0.1)
  votes.names, votes.predictions                             # [3, Q]
  votes.class_scores                   # float32 [3, Q, C], on first access
  votes = vote(near, voter=lambda near: near.similarities**2)      # one's own

  predict(                                  # a sweep in one pass: [V, K, Q]
    near, [setting("rank", offset=a) for a in offsets], ks=ks, num_classes=10
  )

Weights and sums are float64 everywhere, so that ties are ties: by rank, one
neighbor of weight 1/2 ties with two of 1/3 and 1/6. Queries go through the
device in tiles of a fixed size: any number of them, and any value of the
hyper-parameters, uses one compiled program.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Float32, Int, Int32

from visual_memory.types import Array, Neighbors, Votes
from visual_memory.voting import counting, vote_input, weighting
from visual_memory.voting.weighting import Setting

_CPU_TILE = 256
"""Queries per call: a voter's sums for 100 neighbors stay in the cache."""

_DEVICE_TILE = 8192
"""Queries per call on accelerators: enough to fill them."""


def vote(
  near: Neighbors,
  *,
  voter: str | Callable[[Neighbors], Array] = "rank",
  ks: Sequence[int] | int | None = None,
  num_classes: int | None = None,
  factors: Float[Array, "Q k"] | None = None,
  **hyper: float | int,
) -> Votes:
  """The class that the first k neighbors vote for, for each k in ks.

  Each neighbor adds its weight to its class. Of two classes with equal sums,
  the one that reached the sum first wins. UNLABELED neighbors keep their rank
  but have no vote; where no neighbor has a label, neither has the prediction.

  Args:
    near: at least max(ks) neighbors of each query.
    voter: "plurality", "distance", "softmax" or "rank"; "module:function", as
      configs name a voter of one's own (see `weighting`); or a function from
      Neighbors to a weight for each of them, [Q, k], finite and not negative.
      It is called once, with all neighbors, and may look at anything: weights
      must not depend on how many neighbors will vote, since those of the first
      k are summed for every k. Weights of zero have no vote.
    ks: how many neighbors vote, each from 1 to near.k, in any order; or one
      number; all of them by default.
    num_classes: C; every label must be below it. By default that of the
      memory that was searched.
    factors: multiply the weights of the neighbors, finite and not negative:
      the reliability of each row, for soft pruning.
    **hyper: the voter's hyper-parameters; see `weighting.setting`.

  Raises:
    ValueError: unknown voter or hyper-parameter, k out of range, or a label,
      similarity, weight or factor that breaks its promise (naming the query).
    TypeError: a voter that is neither a name nor a function, or a function
      together with hyper-parameters.
  """
  if ks is None or isinstance(ks, (int, np.integer)):
    ks = (near.k if ks is None else ks,)
  ks = vote_input.ks(ks, near.k)
  num_classes = _num_classes(near) if num_classes is None else num_classes
  if isinstance(voter, str):
    setting = weighting.setting(voter, **hyper)
    predictions = predict(
      near, [setting], ks=ks, num_classes=num_classes, factors=factors
    )[0]
    weights = functools.partial(weighting.weights, near.similarities, setting)
  else:
    given = _own_weights(voter, near, hyper)
    predictions = _predict_weighted(
      near.labels, given, factors, ks=ks, num_classes=num_classes
    )
    weights = functools.partial(np.asarray, given)
  return Votes(
    predictions=predictions,
    ks=ks,
    class_names=near.class_names,
    compute_scores=functools.partial(
      _compute_scores, near.labels, weights, factors, ks, num_classes
    ),
  )


def _num_classes(near: Neighbors) -> int:
  """How many classes there are: those of the memory, or those that occur."""
  if near.class_names is not None:
    return len(near.class_names)
  return max(1, int(np.max(near.labels, initial=0)) + 1)


def _own_weights(voter, near: Neighbors, hyper) -> np.ndarray:
  """What a function of the caller's gives, checked."""
  if not callable(voter):
    raise TypeError(
      f"voter is {voter!r}: name one of {', '.join(weighting.VOTERS)}, or give"
      " a function from Neighbors to weights [Q, k]."
    )
  if hyper:
    raise TypeError(
      f"{', '.join(hyper)} belong to the named voters: bind a function's own"
      " with functools.partial."
    )
  return vote_input.weights(voter(near), "voter's weights", near.ids.shape)


def _predict_weighted(labels, weights, factors, *, ks, num_classes):
  """The predictions [K, Q] for weights of the caller's own."""
  labels = vote_input.labels(labels, num_classes)
  if factors is not None:
    weights = weights * vote_input.weights(factors, "factors", labels.shape)
  tile = functools.partial(_chosen_tile, ks=np.asarray(ks, np.int32))
  arrays = _first((labels, weights), max(ks))
  return _over_tiles(tile, arrays, (1, len(ks)))[0]


def _compute_scores(labels, weights, factors, ks, num_classes):
  """The class scores of a vote; a function of plain values, to be pickled."""
  weights = weights()
  if factors is not None:
    weights = weights * np.asarray(factors, np.float64)
  return class_scores(labels, weights, ks=ks, num_classes=num_classes)


def predict(
  near: Neighbors,
  settings: Sequence[Setting],
  *,
  ks: Sequence[int],
  num_classes: int,
  factors: Float[Array, "Q k"] | None = None,
) -> Int32[np.ndarray, "V K Q"]:
  """The predictions of V voters, or of one at V settings, in one pass.

  Arguments and errors are those of `vote`.
  """
  ks = vote_input.ks(ks, near.k)
  labels = vote_input.labels(near.labels, num_classes)
  similarities = vote_input.finite(near.similarities, "similarities")
  if factors is not None:
    factors = vote_input.weights(factors, "factors", labels.shape)
  tile = functools.partial(
    _predict_tile,
    ks=np.asarray(ks, np.int32),
    hypers=tuple(dict(setting.hyper) for setting in settings),
    voters=tuple(setting.voter for setting in settings),
  )
  # No neighbor beyond the last k has a say: leave them out of the work.
  arrays = _first((labels, similarities, factors), max(ks))
  return _over_tiles(tile, arrays, (len(settings), len(ks)))


def class_scores(
  labels: Int[Array, "Q k"],
  weights: Float[Array, "Q k"],
  *,
  ks: Sequence[int],
  num_classes: int,
) -> Float32[np.ndarray, "K Q C"]:
  """The sum of the weights of each class among the first k neighbors.

  Summed in float64 in the order of the neighbors, then rounded. All of it is
  held at once: 4 * K * Q * C bytes.

  Args:
    labels: classes of the neighbors, best first; UNLABELED ones do not vote.
    weights: one for each neighbor, finite and not negative.
    ks: as in `vote`.
    num_classes: C; every label must be below it.

  Raises:
    ValueError: k out of range, or a label or weight that breaks its promise.
  """
  ks = vote_input.ks(ks, labels.shape[1])
  labels = vote_input.labels(labels, num_classes)
  ends, order = np.unique(ks, return_inverse=True)
  spans = np.stack([np.append(0, ends[:-1]), ends], axis=1).astype(np.int32)
  arrays = _first(
    (labels, vote_input.weights(weights, "weights", labels.shape)), max(ks)
  )
  scores = np.empty((len(ks), len(labels), num_classes), np.float32)
  with jax.enable_x64(True):
    for queries, padded in _tiles(arrays):
      tile = np.asarray(_scores_tile(*padded, spans, num_classes=num_classes))
      scores[:, queries] = tile[order, : queries.stop - queries.start]
  return scores


@functools.partial(jax.jit, static_argnames="voters")
def _predict_tile(labels, similarities, factors, *, ks, hypers, voters):
  """Predictions [V, K, T] of one tile, from its neighbors."""
  similarities = similarities.astype(jnp.float64)
  weights = jnp.stack(
    [
      weighting.rule(voter).weigh(similarities, **hyper)
      for voter, hyper in zip(voters, hypers, strict=True)
    ]
  )
  if factors is not None:
    weights *= factors[None]
  return _chosen(labels, weights, ks)


@jax.jit
def _chosen_tile(labels, weights, *, ks):
  """Predictions [1, K, T] of one tile, from its weights."""
  return _chosen(labels, weights[None], ks)


def _chosen(labels, weights, ks):
  """The leaders [V, K, T] after ks neighbors; weights are [V, T, k]."""
  labels = labels.T
  previous = counting.previous_of_class(labels)

  def choose(weights):
    return counting.leaders(labels, previous, weights.T)[ks - 1]

  # One voter after the other: the sums of one stay in a core's cache.
  return lax.map(choose, weights)


@functools.partial(jax.jit, static_argnames="num_classes")
def _scores_tile(labels, weights, spans, *, num_classes):
  """Class scores [K, T, C] of one tile."""
  return counting.class_scores(
    labels.T, weights.T, spans, num_classes=num_classes
  )


def _over_tiles(tile, arrays, shape):
  """tile(*arrays) for all queries: int32 [*shape, Q]."""
  out = np.empty((*shape, len(arrays[0])), np.int32)
  with jax.enable_x64(True):
    # Started one after the other without waiting, they use every core.
    pending = [(queries, tile(*padded)) for queries, padded in _tiles(arrays)]
  for queries, result in pending:
    out[..., queries] = np.asarray(result)[..., : queries.stop - queries.start]
  return out


def _tiles(arrays) -> Iterator[tuple[slice, list[np.ndarray | None]]]:
  """Slices of queries with their arrays, the last ones padded with zeros."""
  num_queries = len(arrays[0])
  size = _CPU_TILE if jax.default_backend() == "cpu" else _DEVICE_TILE
  for start in range(0, num_queries, size):
    stop = min(start + size, num_queries)
    padding = ((0, start + size - stop), (0, 0))
    yield (
      slice(start, stop),
      [x if x is None else np.pad(x[start:stop], padding) for x in arrays],
    )


def _first(arrays, count):
  """The first columns of the arrays that there are."""
  return [x if x is None else x[:, :count] for x in arrays]
