"""What other rows would have decided: edits of neighbors, without a search.

  changed = edited(near, removed={"cat/3.jpg"}, relabeled={"dog/1.jpg": 4}, k=9)
  vote(changed, voter="rank", ks=(9,), num_classes=10).predictions

The next ones retrieved move up into the places of removed neighbors. So
retrieve k + m of them: up to m removals among a query's neighbors are then
exact, the same as removing the rows from the memory and searching again.
"""

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Bool

from visual_memory.analysis import pruning
from visual_memory.types import UNLABELED, Neighbors


def edited(
  near: Neighbors,
  *,
  removed: Collection[str],
  relabeled: Mapping[str, int],
  k: int,
) -> Neighbors:
  """The first k neighbors of each query once rows are removed or relabeled.

  Args:
    near: at least k neighbors of each query, and as many more as are removed.
    removed: ids of rows to do without; those that no query found change
      nothing.
    relabeled: the new label of rows, by id, UNLABELED to take away their vote.
    k: how many neighbors to keep, from 1 to near.k.

  Raises:
    ValueError: k out of range, a label below UNLABELED, a row both removed
      and relabeled, or a query that has fewer than k neighbors left.
  """
  both = sorted(set(removed) & set(relabeled))
  if both:
    raise ValueError(f"Row {both[0]!r} is both removed and relabeled.")
  for row_id, label in relabeled.items():
    if label < UNLABELED:
      raise ValueError(f"The new label of {row_id!r} is {label}: too low.")
  labels = np.array(near.labels)
  for row_id, label in relabeled.items():
    labels[near.ids == row_id] = label
  refilled = pruning.refill(
    dataclasses.replace(near, labels=labels),
    _member(near.ids, frozenset(removed)),
    k=k,
  )
  if refilled.short.any():
    query = int(np.argmax(refilled.short))
    raise ValueError(
      f"Query {query} has fewer than k = {k} of its {near.k} neighbors left:"
      " retrieve more neighbors, or vote with fewer."
    )
  return refilled.near


def _member(ids: np.ndarray, wanted: frozenset) -> Bool[np.ndarray, "Q k"]:
  """Which ids are among the wanted ones."""
  if not wanted:
    return np.zeros(ids.shape, bool)
  return np.frompyfunc(wanted.__contains__, 1, 1)(ids).astype(bool)
