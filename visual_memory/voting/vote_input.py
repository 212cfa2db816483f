"""What a vote asks of its input: one clear error naming the first offence."""

import operator
from collections.abc import Sequence

import numpy as np

from visual_memory.types import UNLABELED, Array


def ks(values: Sequence[int], most: int) -> tuple[int, ...]:
  """The ks as ints, all from 1 to most."""
  values = tuple(operator.index(k) for k in values)
  if not values:
    raise ValueError("ks is empty: name at least one number of neighbors.")
  for k in values:
    if not 1 <= k <= most:
      raise ValueError(
        f"k = {k}, but each query has {most} neighbors: choose every k from 1"
        f" to {most}."
      )
  return values


def labels(values: Array, num_classes: int) -> np.ndarray:
  """Labels as int32 on the host, all from UNLABELED to num_classes - 1."""
  values = np.asarray(values)
  bad = (values < UNLABELED) | (values >= num_classes)
  if bad.any():
    query, place = np.argwhere(bad)[0]
    raise ValueError(
      f"Neighbor {place} of query {query} has label {values[query, place]}, but"
      f" labels go from 0 to num_classes - 1 = {num_classes - 1} (or"
      f" {UNLABELED} for unknown): pass the memory's number of classes."
    )
  return values.astype(np.int32)


def weights(values: Array, name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Weights as float64 on the host, finite, not negative and of this shape."""
  values = finite(values, name).astype(np.float64)
  if values.shape != shape:
    raise ValueError(
      f"The {name} have shape {values.shape}; the neighbors need {shape}."
    )
  if (values < 0).any():
    query, place = np.argwhere(values < 0)[0]
    raise ValueError(
      f"The {name} of query {query} are negative at neighbor {place}"
      f" ({values[query, place]}): a vote cannot count against its class."
    )
  return values


def finite(values: Array, name: str) -> np.ndarray:
  """Values [Q, k] on the host, without NaN or infinity."""
  values = np.asarray(values)
  finite = np.isfinite(values)
  if not finite.all():
    query, place = np.argwhere(~finite)[0]
    raise ValueError(
      f"The {name} of query {query} hold {values[query, place]} at neighbor"
      f" {place}; they must be finite."
    )
  return values
