"""Whether every byte of a store is what was written.

Columns are checked against the manifest, embeddings and text against the
columns, empty places for zeros, files for being needed, receipts against each
other and against the rows.
"""

import dataclasses

import numpy as np

from visual_memory import parallel
from visual_memory.store import receipts
from visual_memory.store.errors import StoreDamaged, StoreError
from visual_memory.store.storage import (
  arrays,
  crc,
  journal,
  keys,
  manifest,
  texts,
  upkeep,
)
from visual_memory.store.storage.arrays import COLUMNS, EMBEDDINGS, TEXT
from visual_memory.store.storage.generations import (
  consistently,
  current_manifest,
  read_state,
)
from visual_memory.store.storage.place import Files
from visual_memory.store.storage.state import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
  """What was checked and found good.

  Attributes:
    generation: of the store.
    digest: of its manifest.
    num_rows: rows whose embedding, id and metadata match their checksums.
    num_empty: empty slots that hold nothing but zeros.
    num_bytes: bytes of embeddings and text that were read.
    num_receipts: receipts that follow from each other, and name no row that
      was there before them.
    num_signed: receipts whose signature is by the key that they name.
  """

  generation: int
  digest: str
  num_rows: int
  num_empty: int
  num_bytes: int
  num_receipts: int
  num_signed: int


def verify(files: Files, kept: str | None = None) -> Verification:
  """Checks a whole store, at one generation; see `Store.verify`.

  Raises:
    StoreDamaged: lists every problem with the place and the remedy.
  """
  verified = consistently(files, lambda of: _verify(files, of, kept))
  if problems := _left_behind(files):
    raise StoreDamaged(problems)
  return verified


def _verify(
  files: Files, of: manifest.Manifest, kept: str | None
) -> Verification:
  state = read_state(files, of)
  problems = [
    *_metadata_problems(files, of),
    *_column_problems(state),
    *_text_problems(state),
    *_size_problems(files, of),
    *_foreign_problems(files, of),
  ]
  chunks = range(len(of.chunks))
  checked = parallel.run(lambda c: _embedding_problems(state, c), chunks)
  problems += sum(checked, [])
  num_receipts = num_signed = 0
  try:
    num_receipts, num_signed = _check_receipts(state, kept)
  except (ValueError, StoreDamaged) as error:
    problems += getattr(error, "problems", [str(error)])
  if problems:
    raise StoreDamaged(problems)
  return Verification(
    generation=of.generation,
    digest=of.digest,
    num_rows=of.num_rows,
    num_empty=of.num_slots - of.num_rows,
    num_bytes=of.num_slots * of.dim * 4 + of.text_end,
    num_receipts=num_receipts,
    num_signed=num_signed,
  )


def _column_problems(state: State) -> list[str]:
  """Columns that contradict each other or the manifest."""
  of, columns = state.manifest, state.columns
  mask, serials = columns["mask"], columns["serials"]
  problems = []
  alive = serials[mask]
  if len(np.unique(alive)) != len(alive) or (
    len(alive) and not 0 <= alive.min() <= alive.max() < of.next_serial
  ):
    problems.append("serials: not every row has a serial of its own.")
  labels = columns["labels"][mask]
  if len(labels) and not -1 <= labels.min() <= labels.max() < len(
    of.class_names
  ):
    problems.append("labels: there are labels without a class name.")
  for name, column in COLUMNS.items():
    left = columns[name][~mask] != column.fill
    if left.any():
      problems.append(
        f"{name}: {np.count_nonzero(left)} values are left in empty slots."
      )
  return problems


def _text_problems(state: State) -> list[str]:
  """Damaged ids and metadata, and text that belongs to no row."""
  slots = np.sort(state.rows)
  try:
    ids = state.read_ids(slots)
    state.metadata(slots)
  except StoreDamaged as error:
    return list(error.problems)
  problems = []
  if len(set(ids)) != len(ids):
    problems.append(f"{TEXT}: two rows have the same id.")
  kept = state.columns["id_checksums"][slots]
  if state.manifest.version > 1 and (kept != crc.of_texts(ids)).any():
    problems.append("id_checksums: a row's is not that of its id.")
  end = state.manifest.num_text_chunks * state.manifest.text_per_chunk
  text = np.frombuffer(
    texts.read(state.files, state.manifest, 0, end), np.uint8
  ).copy()
  spans = state.columns["spans"][slots]
  lengths = spans[:, arrays.ID_BYTES] + spans[:, arrays.METADATA_BYTES]
  starts = spans[:, arrays.START]
  for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
    text[start : start + length] = 0
  if text.any():
    problems.append(
      f"{TEXT}: byte {int(np.argmax(text != 0))} belongs to no row but is not"
      " zero."
    )
  return problems


def _embedding_problems(state: State, chunk: int) -> list[str]:
  """Damaged embeddings of one chunk, and bytes left in empty slots."""
  of = state.manifest
  key = arrays.chunk_key(EMBEDDINGS, chunk)
  slots = np.arange(of.rows_per_chunk) + chunk * of.rows_per_chunk
  rows, bad = state.chunk_rows(slots)
  mask = state.columns["mask"][slots]
  problems = [
    state.describe(slot) for slot in bad.tolist() if state.columns["mask"][slot]
  ]
  left = np.flatnonzero(~mask & (rows.view(np.uint32) != 0).any(axis=1))
  problems += [
    f"{key}: row {slots[k]} is empty but its bytes are not zero." for k in left
  ]
  return problems


def _metadata_problems(files: Files, of: manifest.Manifest) -> list[str]:
  """zarr.json files that would mislead another reader."""
  return [
    f"{key}: does not describe the array that is there. Restore the file."
    for key, data in of.metadata_files().items()
    if files.read(key) != data
  ]


def _size_problems(files: Files, of: manifest.Manifest) -> list[str]:
  """Chunk files of the wrong size."""
  problems = []
  for name in arrays.ARRAYS:
    expected = keys.chunk_bytes(name, of)
    for chunk in range(keys.num_chunks(name, of)):
      key = arrays.chunk_key(name, chunk)
      size = files.size(key)
      if size != expected:
        problems.append(
          f"{key}: has {size} bytes instead of {expected}. Restore the file, or"
          " remove the rows that verify names."
        )
  return problems


def _foreign_problems(files: Files, of: manifest.Manifest) -> list[str]:
  """What is in the store and none of its files: it may hold removed rows."""
  left = upkeep.leftovers(files, of)
  return [
    f"{key}: is no file of this store, and may hold what was removed. Delete"
    " it, or move it elsewhere."
    for key in files.every_key()
    if not keys.is_known(key, of) and key not in left
  ]


def _left_behind(files: Files) -> list[str]:
  """What an interrupted edit left, unless one is going on now."""
  try:
    with files.writer_lock(0.0):
      found = upkeep.leftovers(files, current_manifest(files))
      if files.read(journal.KEY).strip(b"\0"):
        found.append(journal.KEY)
  except StoreError:  # Being edited, or not ours to edit.
    return []
  return [
    f"{key}: left by an interrupted edit. Store.open erases it."
    for key in found
  ]


def _check_receipts(state: State, kept: str | None) -> tuple[int, int]:
  """How many receipts there are, and how many are signed, if all are whole.

  Raises:
    ValueError: a receipt is missing or changed, or a row that it removed is
      there.
  """
  of = state.manifest
  found = receipts.read(state.files, of.trail)
  previous, num_signed = "", 0
  for number, receipt in enumerate(found):
    if receipt.previous != previous or receipt.store_id != of.store_id:
      raise ValueError(
        f"{receipts.KEY}: receipt {number} does not follow the one before it."
      )
    previous = receipt.digest
    try:
      num_signed += receipt.check_own_signature()
    except ImportError:
      pass  # Not checked, and not counted.
    except ValueError as error:
      raise ValueError(f"{receipts.KEY}: receipt {number}: {error}") from error
  if len(found) != of.trail.count or previous != of.trail.last:
    raise ValueError(
      f"{receipts.KEY}: the receipts do not end as the manifest says."
    )
  if state.files.read(receipts.KEY, start=of.trail.num_bytes).strip(b"\0"):
    raise ValueError(f"{receipts.KEY}: something follows the last receipt.")
  if kept is not None and kept not in {receipt.digest for receipt in found}:
    raise ValueError(
      f"{receipts.KEY}: the receipt {kept[:64]} is not among them: the trail"
      " was cut, or it is another store's."
    )
  _check_absent(state, found)
  return len(found), num_signed


def _check_absent(state: State, found: list[receipts.Receipt]) -> None:
  """Raises ValueError if a row that a receipt removed is in the store."""
  removed = {}
  for receipt in found:
    for name in receipt.removed:
      removed[name] = receipt  # The last removal of an id counts.
  if not removed:
    return
  serials = state.columns["serials"]
  for slot in state.rows:
    receipt = removed.get(
      receipts.hash_id(state.manifest.salt, state.ids[slot])
    )
    if receipt is not None and serials[slot] < receipt.next_serial:
      raise ValueError(
        f"{receipts.KEY}: row {slot} was removed in generation"
        f" {receipt.generation} but is there."
      )
