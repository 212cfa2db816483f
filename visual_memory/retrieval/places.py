"""Where neighbors stand among the memory's rows, in order of insertion.

  places = row_places(near, embedded.ids)      # int32 [Q, k]
  wrong = np.bincount(places[near.labels != labels[:, None]])

`Neighbors.indices` are slots of the memory that was searched, which depend on
the devices and on earlier edits. What is counted per row goes by place.
"""

import numpy as np
from jaxtyping import Int32

from visual_memory.types import Neighbors, as_ids


def row_places(
  near: Neighbors, row_ids: np.ndarray
) -> Int32[np.ndarray, "Q k"]:
  """Each neighbor's position in row_ids.

  Args:
    near: the neighbors.
    row_ids: the ids of the rows, each once, [N].

  Raises:
    ValueError: a neighbor that is not among the rows; names it.
  """
  slots = np.asarray(near.indices)
  if not slots.size:
    return slots.astype(np.int32)
  # One look-up for each slot in use, instead of one for each neighbor.
  id_of = np.full(int(slots.max()) + 1, None, object)
  id_of[slots.ravel()] = near.ids.ravel()
  used = np.flatnonzero([value is not None for value in id_of])
  position = {value: row for row, value in enumerate(as_ids(row_ids))}
  place_of = np.full(len(id_of), -1, np.int32)
  for slot in used:
    place_of[slot] = position.get(id_of[slot], -1)
  unknown = used[place_of[used] < 0]
  if len(unknown):
    raise ValueError(
      f"{len(unknown)} neighbors are not among the {len(row_ids)} rows, for"
      f" example {id_of[unknown[0]]!r}: these are neighbors in another memory."
    )
  return place_of[slots]
