"""What an image shows beside its nearest neighbor: search by the residual.

  near = search(queries, memory, k=3)
  found = rows[near.indices[:, 0]]                # the nearest row's embedding
  left = residuals(queries, found, how="difference")
  search(left, memory, k=3)                       # the other thing in the image

Of an image of two objects, the nearest row often shows one; what remains of
the query once that row is taken out points to the other.

Reference: Geirhos et al., ICML 2025, appendix O, takes the difference between
query and neighbor. The projection is ours: it takes out the neighbor's whole
direction and nothing else, so that the neighbor scores zero instead of being
pushed away.
"""

import numpy as np
from jaxtyping import Float, Float32

from visual_memory.types import Array

_NOTHING_LEFT = 1e-6


def residuals(
  queries: Float[Array, "Q D"], found: Float[Array, "Q D"], *, how: str
) -> Float32[np.ndarray, "Q D"]:
  """What is left of each query, as unit rows (zero where nothing is left).

  Args:
    queries: unit rows.
    found: the embedding to take out of each, unit rows.
    how: "difference": q - m, as published; "projection": q - (q.m) m.

  Raises:
    ValueError: unknown how, or shapes that differ.
  """
  queries = np.asarray(queries, np.float64)
  found = np.asarray(found, np.float64)
  if queries.shape != found.shape:
    raise ValueError(
      f"Queries {queries.shape} and what to take out of them {found.shape}"
      " must have the same shape."
    )
  if how not in ("difference", "projection"):
    raise ValueError(f"Unknown how {how!r}: 'difference' or 'projection'.")
  share = np.ones((len(queries), 1))
  if how == "projection":
    share = np.einsum("qd,qd->q", queries, found)[:, None]
  left = queries - share * found
  lengths = np.linalg.norm(left, axis=1, keepdims=True)
  # Of a copy of the neighbor only rounding is left: it points nowhere.
  left = np.where(lengths > _NOTHING_LEFT, left, 0)
  return (left / np.maximum(lengths, _NOTHING_LEFT)).astype(np.float32)
