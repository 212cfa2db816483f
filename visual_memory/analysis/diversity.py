"""How different pictures are from each other, by their embeddings.

effective = vendi_score(embeddings)     # 1 if all are alike, N if orthogonal
"""

import numpy as np
from jaxtyping import Float32


def vendi_score(embeddings: Float32[np.ndarray, "N D"]) -> float:
  """The effective number of different rows, in [1, N].

  exp(-sum l log l) over the eigenvalues l of the similarities / N.

  Args:
    embeddings: unit rows.

  Reference: Friedman and Dieng, "The Vendi Score" (TMLR 2023).
  """
  rows = embeddings.astype(np.float64) / np.sqrt(len(embeddings))
  # Rows and columns have the same eigenvalues: take the smaller product.
  wide = rows.shape[1] > rows.shape[0]
  values = np.linalg.eigvalsh(rows @ rows.T if wide else rows.T @ rows)
  values = values[values > 1e-15]
  return float(np.exp(-np.sum(values * np.log(values))))


def spread(embeddings: Float32[np.ndarray, "N D"]) -> float:
  """Mean of 1 - similarity over all pairs of different rows, in [0, 2].

  Args:
    embeddings: unit rows, at least two.
  """
  num = len(embeddings)
  total = embeddings.astype(np.float64).sum(0)
  return float(1.0 - (total @ total - num) / (num * (num - 1)))


def centered(embeddings: Float32[np.ndarray, "N D"]) -> np.ndarray:
  """Unit rows of what is left without the mean row.

  A mean that all pictures share (they are bright, say) hides differences.
  """
  rows = embeddings - embeddings.mean(0, keepdims=True)
  lengths = np.linalg.norm(rows, axis=1, keepdims=True)
  return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
