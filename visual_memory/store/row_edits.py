"""What each edit of a store changes: functions that fill a Transaction.

They check everything that the caller gave before they change anything.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from visual_memory import parallel
from visual_memory.checks import (
  Ids,
  as_class_names,
  as_embeddings,
  as_id_column,
  as_labels,
  as_list,
  check_counts,
  check_unit_rows,
)
from visual_memory.memory import matching
from visual_memory.store.metadata import Metadata, encode_metadata
from visual_memory.store.storage import arrays, crc
from visual_memory.store.storage.manifest import FORMAT
from visual_memory.store.storage.state import State
from visual_memory.store.storage.transaction import Transaction
from visual_memory.types import EmbeddedSet, embedded_set

HOLDER = "store"
"""What errors call it."""

_MOST_SERIALS = 2**31 - 1
"""Device memories keep serials as int32."""
_CHECKED_IDS = 1 << 16
_TEXTS_AT_ONCE = 1 << 18
_CHECKED_ROWS = 1 << 14
"""Rows whose lengths one thread checks at a time."""


def add(
  edit: Transaction,
  embedded: EmbeddedSet,
  metadata: Metadata,
  *,
  begin: Callable[[], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Adds rows; their slots and ids.

  Args:
    edit: what gets them.
    embedded: the rows.
    metadata: a JSON object for all of them, or one for each.
    begin: called once all is checked and the embeddings are put; the text
      follows, so writing can begin before that.

  Raises:
    ValueError: names the first row that cannot be added, and why.
  """
  state, of = edit.state, edit.state.manifest
  matching.check_fitting(
    embedded, fingerprint=of.fingerprint, dim=of.dim, holder=HOLDER
  )
  embedded = dataclasses.replace(
    embedded,
    embeddings=as_embeddings(embedded.embeddings),
    labels=as_labels(embedded.labels),
    ids=as_id_column(embedded.ids),
  )
  count = check_counts(embedded.embeddings, embedded.labels, embedded.ids)
  records = encode_metadata(metadata, count)
  lengths = _checked_lengths(embedded)
  try:  # While the lengths are checked.
    embedded = _check_addable(state, embedded)
    _check_encodable(embedded.ids)
  finally:
    list(lengths)
  class_names, labels = matching.match_classes(
    edit.manifest.class_names, embedded
  )
  first = edit.manifest.next_serial
  if first + count > _MOST_SERIALS:
    raise ValueError(
      f"The store has given out {first} serials; {_MOST_SERIALS} is the most:"
      " export it and create it anew."
    )
  slots = edit.allocate(count)
  edit.put_rows(
    slots,
    embeddings=embedded.embeddings,
    labels=labels,
    serials=np.arange(first, first + count),
    added=np.full(count, int(time.time())),
  )
  if begin is not None:
    begin()
  _put_text(edit, slots, embedded.ids, records)
  edit.set(
    class_names=class_names,
    num_rows=edit.manifest.num_rows + count,
    next_serial=first + count,
  )
  return slots, embedded.ids


def replace(
  edit: Transaction,
  slots: np.ndarray,
  embedded: EmbeddedSet,
  metadata: Metadata,
) -> None:
  """Gives the rows in these slots (any order) all that is new of them.

  The old embeddings, labels and metadata are overwritten.

  Raises:
    ValueError: names the first row that cannot be there, and why.
  """
  records = encode_metadata(metadata, len(embedded))
  of = edit.state.manifest
  matching.check_fitting(
    embedded, fingerprint=of.fingerprint, dim=of.dim, holder=HOLDER
  )
  embedded = dataclasses.replace(
    embedded, embeddings=as_embeddings(embedded.embeddings)
  )
  list(_checked_lengths(embedded))
  class_names, labels = matching.match_classes(
    edit.manifest.class_names, embedded
  )
  first = edit.manifest.next_serial
  order = np.argsort(slots)
  slots = slots[order]
  edit.erase_text(edit.state.columns.at("spans", slots))
  edit.put_rows(
    slots,
    embeddings=embedded.embeddings[order],
    labels=labels[order],
    serials=first + order,
    added=np.full(len(slots), int(time.time())),
  )
  _put_text(edit, slots, embedded.ids[order], [records[k] for k in order])
  edit.set(class_names=class_names, next_serial=first + len(slots))


def remove(edit: Transaction, slots: np.ndarray) -> None:
  """Removes the rows in these slots (ascending)."""
  edit.clear_rows(slots)
  edit.set(num_rows=edit.manifest.num_rows - len(slots))


def relabel(
  edit: Transaction, slots: np.ndarray, labels: Sequence[int | str] | np.ndarray
) -> None:
  """Gives the rows in these slots (any order) new labels."""
  class_names, values = matching.label_indices(
    edit.manifest.class_names, labels, count=len(slots)
  )
  edit.set(class_names=class_names)
  order = np.argsort(slots)
  edit.put("labels", slots[order], values[order])


def annotate(
  edit: Transaction, slots: np.ndarray, ids: Ids, metadata: Metadata
) -> None:
  """Replaces the metadata of the rows in these slots (any order)."""
  records = encode_metadata(metadata, len(slots))
  order = np.argsort(slots)
  slots = slots[order]
  edit.erase_text(edit.state.columns.at("spans", slots))
  _put_text(edit, slots, [ids[k] for k in order], [records[k] for k in order])


def rename_class(edit: Transaction, old: str, new: str) -> None:
  """Gives a class another name."""
  names = list(edit.manifest.class_names)
  index = matching.class_index(names, old, holder=HOLDER)
  as_class_names([new])
  if new in names:
    raise ValueError(
      f"There is a class {new!r} already: merge_classes puts two into one."
    )
  names[index] = new
  edit.set(class_names=tuple(names))


def merge_classes(edit: Transaction, names: Sequence[str], into: str) -> None:
  """Gives the rows of some classes the label of another."""
  class_names = edit.manifest.class_names
  sources = [
    matching.class_index(class_names, name, holder=HOLDER)
    for name in as_list(names, "names")
  ]
  as_class_names([into])
  if into not in class_names:
    edit.set(class_names=class_names + (into,))
  target = edit.manifest.class_names.index(into)
  slots = np.flatnonzero(np.isin(edit.state.columns["labels"], sources))
  edit.put("labels", slots, np.full(len(slots), target))


def fill_holes(edit: Transaction, most: int) -> int:
  """Moves up to `most` last rows into the first empty slots; how many."""
  mask = edit.state.columns["mask"]
  holes = np.flatnonzero(~mask[: edit.manifest.num_rows])[:most]
  if not len(holes):
    return 0
  rows = np.flatnonzero(mask)[-len(holes) :]
  columns = {name: edit.state.columns.at(name, rows) for name in arrays.COLUMNS}
  edit.put_rows(
    holes,
    embeddings=edit.state.embeddings(rows),
    labels=columns["labels"],
    serials=columns["serials"],
    added=columns["added"],
  )
  edit.put("spans", holes, columns["spans"])
  edit.put("checksums", holes, columns["checksums"])
  edit.put("id_checksums", holes, columns["id_checksums"])
  edit.clear_rows(rows, keep_text=True)
  return len(holes)


def pack_text(edit: Transaction) -> bool:
  """Drops empty chunks and the gaps in the text; whether there were any."""
  state = edit.state
  needed = -(-state.manifest.num_rows // state.manifest.rows_per_chunk)
  spare = len(state.manifest.chunks) - needed
  spans = state.columns["spans"][state.rows]
  lengths = spans[:, arrays.ID_BYTES] + spans[:, arrays.METADATA_BYTES]
  if not spare and lengths.sum() == state.manifest.text_end:
    return False
  slots = np.sort(state.rows)
  edit.drop_chunks(spare)
  edit.replace_text(b"".join(state.records(slots)))
  spans = state.columns["spans"][slots]
  lengths = spans[:, arrays.ID_BYTES] + spans[:, arrays.METADATA_BYTES]
  starts = np.cumsum(lengths) - lengths
  edit.put("spans", slots, starts, arrays.START)
  return True


def upgrade(edit: Transaction) -> None:
  """Makes a store of an older format one of this format, and commits that."""
  state = edit.state
  checksums = np.zeros(state.manifest.num_slots, np.uint32)
  checksums[state.rows] = crc.of_texts(state.read_ids(state.rows))
  edit.put("id_checksums", np.arange(len(checksums)), checksums)
  edit.set(version=FORMAT)
  edit.commit()


def _put_text(
  edit: Transaction, slots: np.ndarray, ids: Ids, records: Sequence[bytes]
) -> None:
  """Appends ids and metadata, of which few are copied at a time."""
  for first in range(0, len(slots), _TEXTS_AT_ONCE):
    part = slice(first, first + _TEXTS_AT_ONCE)
    encoded = [*map(str.encode, ids[part])]
    edit.put_text(slots[part], encoded, records[part])


def _check_encodable(ids: np.ndarray) -> None:
  """Raises ValueError for an id that is no Unicode text."""
  for first in range(0, len(ids), _CHECKED_IDS):
    try:
      ids[first : first + _CHECKED_IDS].astype(np.dtypes.StringDType())
    except UnicodeEncodeError as error:
      raise ValueError(
        f"The id {error.object!r} cannot be written as UTF-8: {error.reason}."
      ) from error


def _checked_lengths(embedded: EmbeddedSet) -> Iterable[None]:
  """Starts to check the lengths of all rows; iterating raises what is found."""
  rows = [
    slice(first, first + _CHECKED_ROWS)
    for first in range(0, len(embedded), _CHECKED_ROWS)
  ]

  def check(part: slice) -> None:
    try:
      check_unit_rows(embedded.embeddings[part], embedded.ids[part])
    except ValueError:  # Said again with the row's number among all.
      check_unit_rows(embedded.embeddings, embedded.ids)
      raise

  if len(rows) > 1:
    return parallel.started(check, rows)
  return map(check, rows)


def _check_addable(state: State, embedded: EmbeddedSet) -> EmbeddedSet:
  """The set, if labels and ids, not lengths, may be added.

  Raises:
    ValueError: names the first row that may not.
  """
  checked = embedded_set(
    embedded.embeddings[:, :0],
    embedded.labels,
    embedded.ids,
    class_names=embedded.class_names,
    fingerprint=embedded.fingerprint,
  )
  if state.manifest.num_rows:
    slots = state.find_or_none(checked.ids)
    matching.check_absent(checked.ids, slots, holder=HOLDER)
  return dataclasses.replace(checked, embeddings=embedded.embeddings)
