"""Pictures side by side, to be looked at."""

import numpy as np
from jaxtyping import UInt8


def contact_sheet(
  images: UInt8[np.ndarray, "B S S 3"], *, columns: int
) -> UInt8[np.ndarray, "H W 3"]:
  """Rows of `columns` pictures without gaps.

  Raises:
    ValueError: the last row would not be full.
  """
  count, size = images.shape[:2]
  if count % columns:
    raise ValueError(
      f"{count} pictures do not fill rows of {columns}: leave out"
      f" {count % columns}."
    )
  rows = images.reshape(count // columns, columns, size, size, 3)
  return rows.swapaxes(1, 2).reshape(-1, columns * size, 3)
