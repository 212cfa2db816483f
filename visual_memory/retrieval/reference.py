"""The oracle: exact search in NumPy, one obvious line at a time."""

import numpy as np
from jaxtyping import Float, Int

from visual_memory import subnormals


def search(
  queries: Float[np.ndarray, "Q D"],
  rows: Float[np.ndarray, "N D"],
  *,
  k: int,
) -> tuple[Int[np.ndarray, "Q k"], Float[np.ndarray, "Q k"]]:
  """Positions and similarities of the k nearest rows, in canonical order.

  Rows are in order of insertion. The similarity is the float64 dot product
  rounded to float32; equal ones keep the order of insertion. Numbers below the
  normal range of float32 are zero (see `subnormals`).
  """
  queries, rows = (subnormals.flushed(x) for x in (queries, rows))
  exact = queries.astype(np.float64) @ rows.astype(np.float64).T
  similarities = subnormals.rounded(exact)
  order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
  return order, np.take_along_axis(similarities, order, axis=1)
