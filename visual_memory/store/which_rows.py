"""Which rows of a store an edit means: by id, by class, by metadata."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from visual_memory.checks import Ids, as_ids
from visual_memory.memory import matching
from visual_memory.store.row_edits import HOLDER
from visual_memory.store.storage import arrays, texts
from visual_memory.store.storage.state import State
from visual_memory.types import EmbeddedSet

_STRETCH = 1 << 24
"""Bytes of text that are looked through at a time."""

Where = Mapping[str, Any] | Callable[[dict[str, Any]], bool]
"""Metadata fields and their values, or a function of a row's metadata."""


def embedded(state: State, rows: np.ndarray) -> EmbeddedSet:
  """The rows in these slots, on the host."""
  return EmbeddedSet(
    embeddings=state.embeddings(rows),
    labels=state.columns.at("labels", rows),
    ids=_ids(state, rows),
    class_names=state.manifest.class_names,
    fingerprint=state.manifest.fingerprint,
  )


def _ids(state: State, rows: np.ndarray) -> np.ndarray:
  """The ids in these slots; all ids are kept once all are asked for."""
  if len(rows) == state.manifest.num_rows:
    return state.ids[rows]
  return as_ids(state.read_ids(rows))


def find(state: State, ids: Ids) -> np.ndarray:
  """The slots of ids that must be there, int64.

  Raises:
    KeyError: names ids that the store does not hold.
    ValueError: something else than a list of strings.
  """
  ids = as_ids(ids)
  return matching.check_found(ids, state.find_or_none(ids), holder=HOLDER)


def find_distinct(state: State, ids: Ids) -> np.ndarray:
  """The slots of ids that must be there, each given once."""
  return find(state, matching.distinct_ids(ids))


def select(
  state: State, label: int | np.integer | str | None, where: Where | None
) -> np.ndarray:
  """The slots of rows with a label and metadata, in order of insertion."""
  if label is None and where is None:
    raise ValueError("Say which rows: give ids, a label, or where.")
  slots = state.rows
  if label is not None:
    index = matching.label_index(
      state.manifest.class_names, label, holder=HOLDER
    )
    slots = slots[state.columns["labels"][slots] == index]
  if where is not None:
    fits = where if callable(where) else _has_fields(where)
    found = [fits(metadata) for metadata in state.metadata(slots)]
    slots = slots[np.array(found, bool)]
  return slots


def mentioning(state: State, words: Iterable[bytes]) -> np.ndarray:
  """The slots of rows in whose id or metadata, as written, one of these occurs.

  In order of insertion. The text is looked through, some 200 bytes a row; of
  other rows than these nothing is parsed.
  """
  words = [word for word in set(words) if word]
  places, beyond = [], max(map(len, words), default=1) - 1
  for start in range(0, state.manifest.text_end if words else 0, _STRETCH):
    end = min(start + _STRETCH + beyond, state.manifest.text_end)
    text = texts.read(state.files, state.manifest, start, end)
    for word in words:
      place = text.find(word)
      while place >= 0:
        places.append(start + place)
        place = text.find(word, place + 1)
  slots = state.rows
  spans = state.columns["spans"][slots]
  starts = spans[:, arrays.START]
  ends = starts + spans[:, arrays.ID_BYTES] + spans[:, arrays.METADATA_BYTES]
  order = np.argsort(starts, kind="stable")
  before = np.searchsorted(starts[order], places, side="right") - 1
  rows = order[before[before >= 0]]
  rows = rows[np.asarray(places, np.int64)[before >= 0] < ends[rows]]
  return slots[np.unique(rows)]


def _has_fields(wanted: Mapping[str, Any]) -> Callable[[dict], bool]:
  """Whether metadata has all these fields with these values."""
  if not isinstance(wanted, Mapping):
    raise ValueError(
      f"where is {wanted!r}: give fields and their values, or a function."
    )
  return lambda metadata: all(
    key in metadata and metadata[key] == value for key, value in wanted.items()
  )
