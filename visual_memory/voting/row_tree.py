"""A taxonomy over rows: nodes are ranges, each with its pairs' distances.

Every pair of rows below one top node is compared once, in tiles, and counted
at the lowest node that holds both; its ancestors get their counts by addition.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float64

from visual_memory.data.taxonomy import Taxonomy

_ROW_TILE, _COLUMN_TILE = 512, 2048


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowTree:
  """Nodes as ranges of rows; nodes of all levels numbered through.

  Attributes:
    order: the rows in the order of the tree, [N].
    nodes: for each row in this order, its node on every level, [N, L].
    offsets: the number of the first node of each level, [L + 1].
    starts: first row of each node, [nodes].
    ends: row behind the last one of each node, [nodes].
    child: each node's position among its siblings, [nodes].
    num_children: the most children of any node, by level of the children.
  """

  order: np.ndarray
  nodes: np.ndarray
  offsets: np.ndarray
  starts: np.ndarray
  ends: np.ndarray
  child: np.ndarray
  num_children: tuple[int, ...]

  @classmethod
  def of(cls, labels: np.ndarray, taxonomy: Taxonomy) -> "RowTree":
    """The tree of these rows."""
    classes = np.lexsort(taxonomy.ancestors.T[::-1])
    position = np.empty(len(classes), np.int64)
    position[classes] = np.arange(len(classes))
    order = np.argsort(position[labels], kind="stable")
    sizes = [len(nodes) for nodes in taxonomy.nodes]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    nodes = taxonomy.ancestors[labels[order]]
    counts = np.bincount(
      (nodes + offsets[:-1][None]).ravel(), minlength=offsets[-1]
    )
    starts = np.full(offsets[-1], len(labels))
    np.minimum.at(
      starts,
      (nodes + offsets[:-1][None]).ravel(),
      np.repeat(np.arange(len(labels)), nodes.shape[1]),
    )
    starts[counts == 0] = 0
    children = [_among_siblings(parents) for parents in taxonomy.parents]
    return cls(
      order=order,
      nodes=nodes,
      offsets=offsets,
      starts=starts,
      ends=starts + counts,
      child=np.concatenate(children),
      num_children=tuple(int(places.max()) + 1 for places in children),
    )


def _among_siblings(parents: np.ndarray) -> np.ndarray:
  """Each node's position among the nodes of its parent."""
  order = np.argsort(parents, kind="stable")
  first = np.searchsorted(parents[order], parents[order])
  place = np.empty(len(parents), np.int64)
  place[order] = np.arange(len(parents)) - first
  return place


def inner_distributions(
  rows: Float[np.ndarray, "N D"], tree: RowTree, *, num_bins: int
) -> Float64[np.ndarray, "nodes _"]:
  """The distribution of the distances between two rows of each node.

  Args:
    rows: unit rows in the order of the tree.
    tree: over the rows.
    num_bins: of the grid over [0, 2].

  Returns:
    Entry [node, b] is the number of the node's pairs in bins below b, whole
    numbers; the last entry is the number of all pairs. [nodes, bins + 1].

  Raises:
    ValueError: so many nodes and bins that int32 cannot number them.
  """
  num_levels, total = tree.nodes.shape[1], int(tree.offsets[-1])
  if total * num_bins >= 1 << 31:
    raise ValueError(
      f"{total} nodes with {num_bins} bins each are too many to count in: use"
      f" fewer than {(1 << 31) // total} bins."
    )
  padding = (-len(rows)) % _COLUMN_TILE
  ends = tree.ends[tree.nodes + tree.offsets[:-1][None]]
  padded = jnp.asarray(np.pad(rows, ((0, padding), (0, 0))))
  numbers = tree.nodes + tree.offsets[:-1][None]
  pad = lambda x: np.pad(x, ((0, padding), (0, 0))).astype(np.int32)
  ends, numbers = jnp.asarray(pad(ends)), jnp.asarray(pad(numbers))
  counts = jnp.zeros(total * num_bins + 1, jnp.int32)
  last = np.asarray(ends)[:, 0]
  for first in range(0, len(rows), _ROW_TILE):
    until = last[first : first + _ROW_TILE].max()
    begin = first // _COLUMN_TILE * _COLUMN_TILE
    for column in range(begin, int(until), _COLUMN_TILE):
      counts = _count_pairs(
        counts, padded, ends, numbers, first, column, num_bins=num_bins
      )
  counts = np.asarray(counts)[:-1].reshape(total, num_bins).astype(np.float64)
  for level in range(num_levels - 1, 0, -1):  # A pair is its ancestors' too.
    below = slice(tree.offsets[level], tree.offsets[level + 1])
    used = np.flatnonzero(tree.ends[below] > tree.starts[below])
    rows_of = tree.starts[below][used]
    above = tree.nodes[rows_of, level - 1] + tree.offsets[level - 1]
    np.add.at(counts, above, counts[below][used])
  return np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))


@functools.partial(
  jax.jit, static_argnames="num_bins", donate_argnames="counts"
)
def _count_pairs(counts, rows, ends, numbers, first, column, *, num_bins):
  """Counts the pairs of a tile at the lowest node that holds both rows."""
  some = lambda x, start, size: lax.dynamic_slice_in_dim(x, start, size)
  left = some(rows, first, _ROW_TILE)
  right = some(rows, column, _COLUMN_TILE)
  bins = bins_of(dot(left, right), num_bins)
  columns = column + jnp.arange(_COLUMN_TILE)[None]
  places = first + jnp.arange(_ROW_TILE)[:, None]
  limits, nodes = some(ends, first, _ROW_TILE), some(numbers, first, _ROW_TILE)
  node = jnp.full(bins.shape, -1)
  for level in range(ends.shape[1]):  # From the top: the last one stays.
    inside = columns < limits[:, level, None]
    node = jnp.where(inside, nodes[:, level, None], node)
  counted = (columns > places) & (node >= 0)
  return counts.at[
    jnp.where(counted, node * num_bins + bins, len(counts) - 1)
  ].add(1)


def dot(left: Array, right: Array) -> Array:
  """All dot products in float32."""
  return jnp.matmul(left, right.T, precision=lax.Precision.HIGHEST)


def bins_of(similarities: Array, num_bins: int) -> Array:
  """The bin of each distance 1 - similarity, from 0 to num_bins - 1."""
  scaled = (1 - similarities) * (num_bins / 2)
  return jnp.clip(scaled, 0, num_bins - 1).astype(jnp.int32)
