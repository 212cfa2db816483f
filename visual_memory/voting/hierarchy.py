"""Descending a taxonomy by Kolmogorov-Smirnov tests, level by level.

  found = descend(queries, rows.embeddings, rows.labels, tree)
  found.nodes[q]                  # the node on every level, from the top
  np.mean(found.nodes == tree.ancestors[labels], axis=0)   # accuracy by level

From a node, a query goes to the child whose rows it resembles as they resemble
each other: the two-sample Kolmogorov-Smirnov test compares its distances to
the child's rows (A) with those between two of them (B), and the child with the
largest p-value is entered. With n_A and n_B values and the largest difference
D of the two distribution functions,

  lambda = D * sqrt(n_A * n_B / (n_A + n_B)),   p = Q(lambda),

and as Q falls, the smallest lambda wins. p itself underflows to zero in float64
on the top levels of a large tree, where the published rule would always take
the first child; `log_p` is its logarithm.

Distances are cosine distances, rounded down to a grid of num_bins over [0, 2];
on the grid the test is exact. Rows are in the order of the tree, so that a
node is a range of them. Pairs of rows stream through the device into one
histogram for each node; queries stream in tiles. Nothing of size N * N, Q * N
or Q * nodes * bins is ever held.

Reference: Geirhos et al., arXiv v1 of "Towards flexible perception with visual
memory", appendix H, algorithm 1. It leaves open which pairs B holds (here each
pair once, no row with itself), and what happens to children that cannot be
tested: here those without rows are never entered, and those of a single row
only when no sibling can be tested; the nearest row decides then, and the step
is counted.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, Int, Int32
from scipy import special

from visual_memory.data.taxonomy import Taxonomy
from visual_memory.types import Array
from visual_memory.voting import row_tree
from visual_memory.voting.row_tree import RowTree

_TILE_ELEMENTS = 1 << 21
"""Distances of one tile of queries."""

_LAST_EXACT_LAMBDA = 15.0
"""Beyond it, 2 exp(-2 lambda^2) is the p-value to the last bit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent:
  """Where queries went.

  Attributes:
    nodes: int32 node on every level, as in Taxonomy.ancestors, [Q, L].
    log_p: logarithm of the p-value of every step; NaN where the nearest row
      decided, [Q, L].
    num_untested: steps that the nearest row decided.
  """

  nodes: Int32[np.ndarray, "Q L"]
  log_p: Float64[np.ndarray, "Q L"]
  num_untested: int


def log_p_value(statistic: Float[Array, "*n"]) -> Float64[np.ndarray, "*n"]:
  """log Q(lambda) of the Kolmogorov distribution, for any lambda >= 0.

  Q(lambda) = 2 sum over j >= 1 of (-1)**(j - 1) exp(-2 j**2 lambda**2).
  """
  value = np.asarray(statistic, np.float64)
  small = np.minimum(value, _LAST_EXACT_LAMBDA)
  return np.where(
    value <= _LAST_EXACT_LAMBDA,
    np.log(special.kolmogorov(small)),
    np.log(2) - 2 * value**2,
  )


def descend(
  queries: Float[Array, "Q D"],
  rows: Float[Array, "N D"],
  labels: Int[Array, "N"],
  taxonomy: Taxonomy,
  *,
  num_bins: int = 2048,
) -> Descent:
  """The path of every query from the top of the taxonomy to a class.

  Args:
    queries: unit rows, [Q, D].
    rows: unit rows, [N, D].
    labels: their classes, [N]; every one of them in the taxonomy.
    taxonomy: of the classes.
    num_bins: of the grid of distances; at most 65536.

  Raises:
    ValueError: no rows, a label outside the taxonomy, or num_bins out of
      range.
  """
  labels = np.asarray(labels)
  outside = (labels < 0) | (labels >= taxonomy.num_classes)
  if not len(labels) or outside.any():
    raise ValueError(
      "There are no rows to descend to."
      if not len(labels)
      else f"Row {np.argmax(outside)} has label {labels[np.argmax(outside)]},"
      f" but the taxonomy has {taxonomy.num_classes} classes."
    )
  if not 2 <= num_bins <= 1 << 16:
    raise ValueError(f"num_bins = {num_bins}: choose from 2 to 65536.")
  tree = RowTree.of(labels, taxonomy)
  rows = np.asarray(rows, np.float32)[tree.order]
  inner = row_tree.inner_distributions(rows, tree, num_bins=num_bins)
  tile = max(1, _TILE_ELEMENTS // len(rows))
  nodes = np.empty((len(queries), len(taxonomy.levels)), np.int32)
  log_p = np.empty(nodes.shape)
  on_device = jnp.asarray(rows)
  for start in range(0, len(queries), tile):
    some = np.asarray(queries[start : start + tile], np.float32)
    padded = np.pad(some, ((0, tile - len(some)), (0, 0)))
    similarities, bins = _compared(padded, on_device, num_bins=num_bins)
    part = slice(start, start + len(some))
    nodes[part], log_p[part] = _walk(
      np.asarray(similarities)[: len(some)],
      np.asarray(bins)[: len(some)],
      tree,
      inner,
    )
  return Descent(
    nodes=nodes, log_p=log_p, num_untested=int(np.isnan(log_p).sum())
  )


@functools.partial(jax.jit, static_argnames="num_bins")
def _compared(queries, rows, *, num_bins):
  """Similarities and bins, [T, N]."""
  similarities = row_tree.dot(queries, rows)
  return similarities, row_tree.bins_of(similarities, num_bins).astype(
    jnp.uint16
  )


def _walk(similarities, bins, tree, inner):
  """Nodes and log p-values [T, L] of a tile of queries."""
  num_queries, num_rows = bins.shape
  num_levels = tree.nodes.shape[1]
  start = np.zeros(num_queries, np.int64)
  end = np.full(num_queries, num_rows)
  nodes = np.empty((num_queries, num_levels), np.int32)
  log_p = np.empty((num_queries, num_levels))
  for level in range(num_levels):
    statistic, candidate = _statistics(
      bins, tree, inner, level, start=start, end=end
    )
    best = statistic.argmin(axis=1)
    queries = np.arange(num_queries)
    chosen = candidate[queries, best]
    log_p[:, level] = log_p_value(np.minimum(statistic[queries, best], 1e6))
    for query in np.flatnonzero(np.isinf(statistic[queries, best])):
      log_p[query, level] = np.nan
      nearest = similarities[query, start[query] : end[query]].argmax()
      chosen[query] = tree.nodes[start[query] + nearest, level]
    nodes[:, level] = chosen
    numbers = chosen + tree.offsets[level]
    start, end = tree.starts[numbers], tree.ends[numbers]
  return nodes, log_p


def _statistics(bins, tree, inner, level, *, start, end):
  """lambda of each query's children, infinite where untested; their nodes."""
  width = tree.num_children[level]
  num_bins = inner.shape[1] - 1
  lengths = end - start
  query = np.repeat(np.arange(len(start)), lengths)
  row = np.arange(len(query)) + np.repeat(
    start - np.cumsum(lengths) + lengths, lengths
  )
  node = tree.nodes[row, level]
  group = query * width + tree.child[node + tree.offsets[level]]
  keys = np.sort(group * num_bins + bins[query, row])
  group = keys // num_bins
  first = np.flatnonzero(np.diff(group, prepend=-1))
  used = group[first]
  size = np.diff(first, append=len(keys))
  candidate = np.zeros(len(start) * width, np.int32)
  candidate[query * width + tree.child[node + tree.offsets[level]]] = node
  pairs = inner[candidate[used] + tree.offsets[level], -1]
  each = lambda values: np.repeat(values, size)
  place = np.arange(1, len(keys) + 1) - each(first)
  number = each(candidate[used] + tree.offsets[level])
  at = number * inner.shape[1] + keys % num_bins
  # Differences times n_A n_B are whole numbers: equal ones are exactly equal.
  # Above the inner distribution at a value, or below it just before one.
  above = place * each(pairs) - inner.ravel()[at + 1] * each(size)
  below = inner.ravel()[at] * each(size) - (place - 1) * each(pairs)
  largest = np.maximum.reduceat(np.maximum(above, below), first)
  scale = np.sqrt(np.maximum(pairs, 1) * size * (size + pairs))
  statistic = np.full(len(start) * width, np.inf)
  statistic[used] = np.where(pairs > 0, largest / scale, np.inf)
  return statistic.reshape(-1, width), candidate.reshape(-1, width)
