"""What records of neighbors promise: one clear error for the first offence."""

from collections.abc import Iterable

import numpy as np

from visual_memory.checks import shown

FARTHEST = 1e30
"""Every similarity or distance of a record is nearer to zero."""


def as_numbers(positions, values) -> tuple[np.ndarray, np.ndarray]:
  """Positions and values as arrays of integers and of floats."""
  positions, values = np.asarray(positions), np.asarray(values)
  if positions.dtype.kind not in "iu" or values.dtype.kind != "f":
    raise ValueError(
      f"Positions are {positions.dtype} and values {values.dtype}: whole"
      " numbers and real ones are needed."
    )
  return positions, values


def check_writable(texts: Iterable[str]) -> None:
  """Raises ValueError for a text that no file could give back."""
  for text in texts:
    try:
      text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
      raise ValueError(f"{shown(text)} has half a character.") from None
    if "\0" in text:
      raise ValueError(f"{shown(text)} holds a NUL character.")


def as_sets(sets, query_ids, num_classes: int) -> tuple[tuple[int, ...], ...]:
  """Sets of labels, all of them classes."""
  found = []
  for query, labels in zip(query_ids, sets, strict=True):
    if any(isinstance(x, bool) for x in labels) or not all(
      isinstance(x, int | np.integer) and 0 <= x < num_classes for x in labels
    ):
      raise ValueError(
        f"The labels of query {shown(query)} are {list(labels)[:5]}, but there"
        f" are {num_classes} class names."
      )
    found.append(tuple(int(x) for x in labels))
  return tuple(found)


def check_range(positions, query_ids, num_rows) -> None:
  """Raises ValueError if a neighbor is no row."""
  bad = (positions < 0) | (positions >= num_rows)
  if bad.any():
    query, rank = np.argwhere(bad)[0]
    raise ValueError(
      f"Neighbor {rank} of query {shown(query_ids[query])} is row"
      f" {positions[query, rank]}, but the memory has {num_rows} rows."
    )


def check_near(values: np.ndarray, query_ids: np.ndarray, *, kind: str):
  """Raises ValueError for a number that no encoder's rows could give."""
  bad = np.abs(values.astype(np.float64)) >= FARTHEST
  if bad.any():
    query, rank = np.argwhere(bad)[0]
    raise ValueError(
      f"The {kind} of query {shown(query_ids[query])} are {values[query, rank]}"
      f" at neighbor {rank}: they must be below {FARTHEST:g}."
    )


def check_sorted(values: np.ndarray, query_ids: np.ndarray, *, kind: str):
  """Raises ValueError unless every query's nearest neighbor comes first."""
  if not np.isfinite(values).all():
    query, rank = np.argwhere(~np.isfinite(values))[0]
    raise ValueError(
      f"The {kind} of query {shown(query_ids[query])} are {values[query, rank]}"
      f" at neighbor {rank}: they must be finite."
    )
  steps = np.diff(values, axis=1)
  bad = ~(steps >= 0 if kind == "distances" else steps <= 0)
  if bad.any():
    query, rank = np.argwhere(bad)[0]
    raise ValueError(
      f"The neighbors of query {shown(query_ids[query])} are not in order:"
      f" {kind} {values[query, rank]} and then {values[query, rank + 1]} at"
      f" neighbor {rank + 1}. The nearest must come first."
    )
