"""Arrays and chunks that no manifest knows yet, and files that none knows.

What writes a chunk gives its keys; they are durable once `Files.sync` says so.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from visual_memory.store.errors import StoreError
from visual_memory.store.storage import arrays, journal, keys, manifest
from visual_memory.store.storage.arrays import COLUMNS, EMBEDDINGS, TEXT
from visual_memory.store.storage.generations import current_manifest
from visual_memory.store.storage.place import Files


def create_arrays(files: Files, empty: manifest.Manifest) -> None:
  """The files of a store without rows, all but its manifest."""
  journal.create(files)
  files.create(keys.RECEIPTS, bytes(keys.RECEIPTS_BYTES))
  for key, data in empty.metadata_files().items():
    files.create(key, data)


def erase_chunks(files: Files) -> None:
  """Erases every chunk of an unfinished store."""
  for name in arrays.ARRAYS:
    for key in filter(keys.chunk_of, files.keys(name)):
      files.erase(key)


def tidy(files: Files) -> None:
  """Erases what an edit that was never committed has left behind.

  Not while another edit is going on, nor where this user may not write.
  """
  try:
    with files.writer_lock(0.0):
      journal.recover(files)
      erase_unknown(files, current_manifest(files))
  except StoreError:
    return


def leftovers(files: Files, known: manifest.Manifest) -> list[str]:
  """The chunk files that a manifest does not know."""
  return [
    key
    for name in arrays.ARRAYS
    for key in files.keys(name)
    if keys.chunk_of(key) and keys.most_bytes(key, known) is None
  ]


def erase_unknown(files: Files, known: manifest.Manifest) -> None:
  """Erases the chunks that a manifest does not know: unfinished additions."""
  for key in leftovers(files, known):
    files.erase(key)


def write_columns(
  files: Files, columns: Mapping[tuple[str, int], np.ndarray], chunk: int
) -> list[str]:
  """Writes the columns of a row chunk; columns are keyed by name and chunk."""
  keys = [arrays.chunk_key(name, chunk) for name in COLUMNS]
  for name, key in zip(COLUMNS, keys, strict=True):
    data = np.ascontiguousarray(columns[name, chunk])
    files.create(key, memoryview(data).cast("B"), wait=False)
  return keys


def write_embeddings(
  files: Files,
  embeddings: Sequence[tuple[np.ndarray, np.ndarray | None]],
  chunk: int,
  *,
  shape: tuple[int, int],
) -> str:
  """Writes the embeddings of a row chunk.

  Args:
    files: of the store.
    embeddings: pairs of slots (ascending) and what goes there; None is
      nothing.
    chunk: its number.
    shape: rows in a chunk, and dimension.
  """
  size, dim = shape
  rows = np.zeros(shape, np.float32)
  for slots, values in embeddings:
    first, last = np.searchsorted(slots, [chunk * size, (chunk + 1) * size])
    if values is None:
      continue
    if last - first == size:  # All of it, in order: no copy is needed.
      rows = values[first:last]
    else:
      rows[slots[first:last] - chunk * size] = values[first:last]
  key = arrays.chunk_key(EMBEDDINGS, chunk)
  files.create(key, memoryview(rows).cast("B"), wait=False)
  return key


def write_text(
  files: Files, text: Sequence[tuple[int, bytes]], chunk: int, *, size: int
) -> str:
  """Writes a text chunk of a size; text is pairs of first byte and bytes."""
  content = bytearray(size)
  for start, data in text:
    first = max(start, chunk * size)
    last = min(start + len(data), (chunk + 1) * size)
    if first < last:
      piece = data[first - start : last - start]
      content[first - chunk * size : last - chunk * size] = piece
  key = arrays.chunk_key(TEXT, chunk)
  files.create(key, memoryview(content), wait=False)
  return key
