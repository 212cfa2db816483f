"""How different pictures are from each other, by their embeddings.

effective = vendi_score(embeddings)     # 1 if all are alike, N if orthogonal
rows = edge_rows(images)                # by their edges instead of an encoder
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, UInt8


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
    embeddings: unit rows.

  Raises:
    ValueError: fewer than two rows.
  """
  num = len(embeddings)
  if num < 2:
    raise ValueError(f"{num} pictures cannot differ: two are needed.")
  total = embeddings.astype(np.float64).sum(0)
  return float(1.0 - (total @ total - num) / (num * (num - 1)))


def centered(embeddings: Float32[np.ndarray, "N D"]) -> np.ndarray:
  """Unit rows of what is left without the mean row.

  A mean that all pictures share (they are bright, say) hides differences.
  """
  rows = embeddings - embeddings.mean(0, keepdims=True)
  lengths = np.linalg.norm(rows, axis=1, keepdims=True)
  return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)


def edge_rows(
  images: UInt8[np.ndarray, "N S S 3"],
) -> Float32[np.ndarray, "N D"]:
  """Histograms of oriented gradients as unit rows; zeros if nothing varies.

  9 orientations in cells of 8 x 8 pixels, normalized in blocks of 2 x 2 cells:
  shapes and textures, whatever the colors and the contrast.

  Reference: Dalal and Triggs, "Histograms of Oriented Gradients for Human
  Detection" (CVPR 2005), as in scikit-image (the extra `perception`).

  Raises:
    ValueError: pictures of less than 16 x 16 pixels.
  """
  from skimage import feature

  if images.shape[1] < 16:
    raise ValueError(
      f"Blocks of edges need 16 x 16 pixels; got {images.shape[1]}."
    )
  rows = np.stack(
    [
      feature.hog(
        image, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=-1
      )
      for image in images
    ]
  )
  lengths = np.linalg.norm(rows, axis=1, keepdims=True)
  return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)


def measures(
  rows: Mapping[str, Float32[np.ndarray, "N _"]],
) -> dict[str, dict[str, float]]:
  """Both measures of the same pictures, by each of their representations."""
  return {
    name: {
      "vendi_score": vendi_score(centered(found)),
      "spread": spread(found),
    }
    for name, found in rows.items()
  }
