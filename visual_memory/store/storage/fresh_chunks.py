"""Chunks that no manifest knows yet: written whole, where nobody can see them.

Each function writes the files of one chunk and gives their keys; they are
durable once `Files.sync` says so.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from visual_memory.store.storage import arrays
from visual_memory.store.storage.arrays import COLUMNS, EMBEDDINGS, TEXT
from visual_memory.store.storage.place import Files


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
