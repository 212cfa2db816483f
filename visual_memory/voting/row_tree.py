"""A taxonomy over the rows of a memory: every node is a range of rows."""

import dataclasses

import numpy as np

from visual_memory.data.taxonomy import Taxonomy


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
