"""Which rows of a store an edit means: by id, by class, by metadata."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from visual_memory.store import row_edits
from visual_memory.store.storage.state import State
from visual_memory.types import Ids, check_unique

Where = Mapping[str, Any] | Callable[[dict[str, Any]], bool]
"""Metadata fields and their values, or a function of a row's metadata."""


def find_distinct(state: State, ids: Ids) -> np.ndarray:
  """The slots of ids that must be there, each once."""
  if isinstance(ids, str):
    raise ValueError(f"ids must be a sequence of ids; got the str {ids!r}.")
  slots = state.find(ids)
  check_unique(np.asarray(ids, dtype=object))
  return slots


def select(
  state: State, label: int | np.integer | str | None, where: Where | None
) -> np.ndarray:
  """The slots of rows with a label and metadata, in order of insertion."""
  if label is None and where is None:
    raise ValueError("Say which rows: give ids, a label, or where.")
  slots = state.rows
  if label is not None:
    index = row_edits.label_index(state.manifest.class_names, label)
    slots = slots[state.columns["labels"][slots] == index]
  if where is not None:
    fits = where if callable(where) else _has_fields(where)
    found = [fits(metadata) for metadata in state.metadata(slots)]
    slots = slots[np.array(found, bool)]
  return slots


def _has_fields(wanted: Mapping[str, Any]) -> Callable[[dict], bool]:
  """Whether metadata has all these fields with these values."""
  return lambda metadata: all(
    key in metadata and metadata[key] == value for key, value in wanted.items()
  )
