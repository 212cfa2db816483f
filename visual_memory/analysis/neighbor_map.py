"""A map of a memory: two coordinates a row, near rows near each other.

  places = map_of(memory)        # float32 [N, 2], in order of insertion

The layout of UMAP (McInnes, Healy, Melville 2018) on the exact neighbor graph
of the memory: edges attract by how likely they are, pairs drawn at random
repel. Where we differ: the neighbors are exact; all rows move at once, by the
mean instead of one edge after the other, so that a step is a few array
operations; it begins at the two first principal components, whose signs are
fixed. The same rows give the same map, on any number of devices.

A map shows which rows are near; distances between far ones mean little.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Float32

from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.types import Neighbors

_NEIGHBORS = 15
_STEPS, _STEPS_OF_MANY, _MANY = 300, 200, 10_000
_NEGATIVES = 5
_RATE = 0.5
_A, _B = 1.577, 0.8951
"""The curve 1 / (1 + a d^2b) of a least distance of 0.1 (spread 1)."""
_MOST_FORCE = 4.0
_BLOCK = 4096
_STEPS_AT_ONCE = 25


def map_of(
  memory: VisualMemory,
  *,
  neighbors: int = _NEIGHBORS,
  near: Neighbors | None = None,
  steps: int | None = None,
  seed: int = 0,
  progress: Callable[[float], None] = lambda done: None,
) -> Float32[np.ndarray, "N 2"]:
  """Where each row lies on a map, in order of insertion.

  Args:
    memory: the rows; a search of all of them among themselves is made.
    neighbors: of each row that the map keeps near (fewer if there are fewer).
    near: those neighbors, where `neighbors_of` has found them already.
    steps: of the layout; by default 300, and 200 of more than 10,000 rows.
    seed: of the pairs that repel.
    progress: is told the fraction that is done, in [0, 1].

  Returns:
    Coordinates around zero, most within about +-15. Rows of a memory with
    fewer than three rows lie on a line.
  """
  rows = memory.embedded()
  count = len(rows.ids)
  start = principal_plane(rows.embeddings)
  if count < 3:
    return start
  if near is None:
    near = neighbors_of(memory, k=neighbors, progress=progress)
  if steps is None:
    steps = _STEPS if count <= _MANY else _STEPS_OF_MANY
  graph = _graph(near)
  heads = np.repeat(np.arange(count, dtype=np.int32), np.diff(graph.indptr))
  degrees = np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1e-6)
  edges = tuple(
    map(
      jnp.asarray,
      (heads, graph.indices, graph.data.astype(np.float32)),
    )
  )
  places, per_row = jnp.asarray(start), jnp.asarray(degrees, jnp.float32)
  for done in range(0, steps, _STEPS_AT_ONCE):
    places = _advance(
      places, edges, per_row, jax.random.key(seed), done, steps=steps
    )
    progress(0.5 + 0.5 * min(done + _STEPS_AT_ONCE, steps) / steps)
  return np.asarray(places - places.mean(axis=0, keepdims=True))


def principal_plane(
  embeddings: Float[np.ndarray, "N D"],
) -> Float32[np.ndarray, "N 2"]:
  """The two first principal components, of standard deviation 5 at most.

  Signs: the largest weight of each component is positive.
  """
  centered = np.asarray(embeddings, np.float64)
  centered = centered - centered.mean(axis=0)
  dim = centered.shape[1]
  if min(centered.shape) < 3:
    axes = np.linalg.svd(centered, full_matrices=False)[2][:2].T
    axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
  else:  # Two of them, by products with the rows alone.
    scatter = scipy.sparse.linalg.LinearOperator(
      (dim, dim), matvec=lambda v: centered.T @ (centered @ v), dtype=float
    )
    _, axes = scipy.sparse.linalg.eigsh(
      scatter, k=2, v0=np.ones(dim), maxiter=1000, tol=1e-6
    )
    axes = axes[:, ::-1]
  largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
  places = centered @ (axes * np.where(largest < 0, -1.0, 1.0))
  scale = places.std(axis=0).max()
  return (places * (5 / scale if scale > 0 else 1)).astype(np.float32)


def neighbors_of(
  memory: VisualMemory,
  *,
  k: int = _NEIGHBORS,
  progress: Callable[[float], None] = lambda done: None,
) -> Neighbors:
  """The nearest rows of each row among the others, in order of insertion.

  Args:
    memory: of at least two rows.
    k: how many; fewer if there are fewer.
    progress: is told the fraction of a map that is done then, to 0.5.
  """
  rows, count = memory.embedded(), len(memory)
  found = []
  for start in range(0, count, _BLOCK):
    part = slice(start, start + _BLOCK)
    found.append(
      exact.search(
        rows.embeddings[part],
        memory,
        k=min(k, count - 1),
        exclude_self=rows.ids[part],
      )
    )
    progress(0.5 * min(start + _BLOCK, count) / count)
  joined = lambda name: np.concatenate([getattr(near, name) for near in found])
  return Neighbors(
    **{
      name: joined(name)
      for name in ("ids", "indices", "labels", "similarities")
    },
    class_names=memory.class_names,
  )


def _graph(near: Neighbors) -> scipy.sparse.csr_matrix:
  """How likely each pair of rows is an edge: symmetric, [N, N]."""
  count, similarities = len(near), near.similarities.astype(np.float64)
  likely = memberships(np.sqrt(np.maximum(0.0, 2 - 2 * similarities)))
  heads = np.repeat(np.arange(count), near.k)
  directed = scipy.sparse.csr_matrix(
    (likely.ravel(), (heads, near.indices.ravel())), shape=(count, count)
  )
  mirrored = directed.T.tocsr()
  both = directed + mirrored - directed.multiply(mirrored)
  both.sort_indices()
  return both.tocsr()


def memberships(
  distances: Float[np.ndarray, "N k"],
) -> Float[np.ndarray, "N k"]:
  """exp(-(d - nearest) / scale), with the scale at which a row has log2(k).

  Args:
    distances: of each row's neighbors, nearest first.
  """
  k = distances.shape[1]
  over = distances - distances[:, :1]
  low = np.full((len(over), 1), 1e-6)
  high = np.full((len(over), 1), 1e3)
  for _ in range(48):  # Bisection in the logarithm, to double precision.
    scale = np.sqrt(low * high)
    too_many = np.exp(-over / scale).sum(axis=1, keepdims=True) > np.log2(k + 1)
    high = np.where(too_many, scale, high)
    low = np.where(too_many, low, scale)
  return np.exp(-over / np.sqrt(low * high))


def _power(square):
  """square ** b; logarithm and exponential are vectorized, powers are not."""
  return jnp.exp(_B * jnp.log(jnp.maximum(square, 1e-30)))


@functools.partial(jax.jit, static_argnames="steps")
def _advance(places, edges, degrees, key, done, *, steps):
  """The places after some more steps."""
  heads, tails, weights = edges
  count = len(places)

  def attraction(places):
    apart = places[heads] - places[tails]  # [E, 2]
    square = jnp.sum(apart**2, axis=1) + 1e-6
    power = _power(square)
    strength = -2 * _A * _B * power / (square * (1 + _A * power))
    force = jnp.clip(strength[:, None] * apart, -_MOST_FORCE, _MOST_FORCE)
    return jax.ops.segment_sum(
      weights[:, None] * force, heads, count, indices_are_sorted=True
    )

  def repulsion(places, key):
    others = jax.random.randint(key, (count, _NEGATIVES), 0, count)
    apart = places[:, None] - places[others]  # [N, negatives, 2]
    square = jnp.sum(apart**2, axis=2)
    strength = 2 * _B / ((1e-3 + square) * (1 + _A * _power(square)))
    force = jnp.clip(strength[..., None] * apart, -_MOST_FORCE, _MOST_FORCE)
    return jnp.sum(force, axis=1)

  def step(i, places):
    number = done + i
    rate = _RATE * jnp.maximum(0.0, 1 - number / steps)
    pulled = attraction(places) / degrees[:, None]
    pushed = repulsion(places, jax.random.fold_in(key, number))
    return places + rate * (pulled + pushed)

  return jax.lax.fori_loop(0, _STEPS_AT_ONCE, step, places)
