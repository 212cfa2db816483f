"""The oracle: exact search in NumPy, one obvious line at a time."""

import numpy as np
from jaxtyping import Float, Int


def search(
  queries: Float[np.ndarray, "Q D"],
  rows: Float[np.ndarray, "N D"],
  *,
  k: int,
) -> tuple[Int[np.ndarray, "Q k"], Float[np.ndarray, "Q k"]]:
  """Positions and similarities of the k nearest rows, in canonical order.

  Rows are in order of insertion. The similarity is the float64 dot product
  rounded to float32; equal ones keep the order of insertion.
  """
  scores = (queries.astype(np.float64) @ rows.astype(np.float64).T).astype(
    np.float32
  )
  order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
  return order, np.take_along_axis(scores, order, axis=1)
