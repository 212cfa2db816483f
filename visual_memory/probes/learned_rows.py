"""What probes learn from: rows with a class."""

import numpy as np


def check_labels(labels: np.ndarray, *, num_rows: int, num_classes: int):
  """Raises ValueError unless every row has a class; names the first without."""
  if len(labels) != num_rows or not num_rows:
    raise ValueError(f"{len(labels)} labels for {num_rows} rows.")
  bad = (labels < 0) | (labels >= num_classes)
  if bad.any():
    row = int(np.argmax(bad))
    raise ValueError(
      f"Row {row} has label {labels[row]}: probes learn from rows labeled 0 to"
      f" {num_classes - 1}; leave the others out."
    )
