"""From neighbors to positions in the set that the memory was made from.

A neighbor's `indices` are slots of one memory; its id is who it is. Analyses
that give every row a value of its own (a count, a corrupted label) need its
position among the rows.
"""

import numpy as np
from jaxtyping import Int32

from visual_memory.types import Neighbors


def rows_of(near: Neighbors, row_ids: np.ndarray) -> Int32[np.ndarray, "Q k"]:
  """The position of each neighbor among row_ids.

  Each slot is looked up once, however often it was retrieved.

  Raises:
    ValueError: a neighbor that is not among row_ids; names it.
  """
  slots = np.asarray(near.indices).ravel()
  if not slots.size:
    return np.zeros(near.indices.shape, np.int32)
  place = {row_id: row for row, row_id in enumerate(row_ids)}
  seen = np.full(int(slots.max()) + 1, -1, np.int64)
  seen[slots] = np.arange(slots.size)  # Any of its occurrences.
  present = np.flatnonzero(seen >= 0)
  ids = near.ids.ravel()[seen[present]]
  lookup = np.full(len(seen), -1, np.int32)
  try:
    lookup[present] = [place[row_id] for row_id in ids]
  except KeyError as error:
    raise ValueError(
      f"The neighbor {error.args[0]!r} is not among the {len(row_ids)} rows:"
      " these neighbors belong to another memory."
    ) from None
  return lookup[slots].reshape(near.indices.shape)
