"""Which queries may choose hyper-parameters, and which may only be scored.

  held_out = held_out_queries(near, labels, ids)
  tuning = tuning_queries(tune_near, tune_labels, tune_ids, held_out=held_out)

Whatever chooses (k, a temperature, a threshold) takes `TuningQueries` and
nothing else. They cannot be made of queries that are also scored, nor of
queries that find themselves in the memory.
"""

import dataclasses

import numpy as np
from jaxtyping import Int

from visual_memory.types import (
  Array,
  Ids,
  Neighbors,
  as_ids,
  as_labels,
  check_unique,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Queries:
  """Queries whose neighbors and classes are known.

  Attributes:
    near: their neighbors, [Q, k].
    labels: int32 true classes, UNLABELED where unknown, [Q].
    ids: their ids, [Q].
  """

  near: Neighbors
  labels: Int[np.ndarray, "Q"]
  ids: np.ndarray

  def __len__(self) -> int:
    """The number of queries."""
    return len(self.labels)


class HeldOutQueries(_Queries):
  """Test queries: to be scored once. Build one with `held_out_queries`."""


class TuningQueries(_Queries):
  """Queries that may choose; build one with `tuning_queries`.

  None of them is among its own neighbors.
  """


def held_out_queries(
  near: Neighbors, labels: Int[Array, "Q"], ids: Ids
) -> HeldOutQueries:
  """Test queries with their neighbors.

  Raises:
    ValueError: lengths that differ, or an id given twice.
  """
  ids, labels = _checked(near, labels, ids)
  return HeldOutQueries(near=near, labels=labels, ids=ids)


def tuning_queries(
  near: Neighbors,
  labels: Int[Array, "T"],
  ids: Ids,
  *,
  held_out: HeldOutQueries,
) -> TuningQueries:
  """Tuning queries with their leave-one-out neighbors.

  Args:
    near: their neighbors in the memory, themselves left out.
    labels: their true classes, [T].
    ids: their ids, [T].
    held_out: the queries that will be scored with what these choose.

  Raises:
    ValueError: lengths that differ, an id given twice, an id that is held out
      too, or a query that is among its own neighbors.
  """
  ids, labels = _checked(near, labels, ids)
  shared = set(ids) & set(held_out.ids)
  if shared:
    raise ValueError(
      f"{len(shared)} tuning queries are also held out, for example"
      f" {min(shared)!r}: what is chosen on test data cannot be scored on it."
    )
  itself = near.ids == ids[:, None]
  if itself.any():
    query = int(np.argmax(itself.any(axis=1)))
    raise ValueError(
      f"Tuning query {ids[query]!r} is among its own neighbors: search with"
      " exclude_self."
    )
  return TuningQueries(near=near, labels=labels, ids=ids)


def check_tuning(queries: object) -> None:
  """Raises TypeError for anything but tuning queries."""
  if not isinstance(queries, TuningQueries):
    raise TypeError(
      f"A {type(queries).__name__} cannot choose: only TuningQueries can."
    )


def check_held_out(queries: object) -> None:
  """Raises TypeError for anything but held-out queries."""
  if not isinstance(queries, HeldOutQueries):
    raise TypeError(
      f"A {type(queries).__name__} cannot be scored: only HeldOutQueries can."
    )


def _checked(near, labels, ids) -> tuple[np.ndarray, np.ndarray]:
  """Ids and labels, as many as there are queries."""
  ids, labels = as_ids(ids), as_labels(labels).astype(np.int32)
  if not len(near) == len(labels) == len(ids):
    raise ValueError(
      f"{len(near)} queries with neighbors, {len(labels)} labels and"
      f" {len(ids)} ids: one of each is needed for every query."
    )
  check_unique(ids)
  return ids, labels
