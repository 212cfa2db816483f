"""From rows and texts that change to ranges of bytes in chunk files."""

from collections.abc import Iterator

import numpy as np

from visual_memory.store.storage import arrays, manifest
from visual_memory.store.storage.place import Overwrite

_DENSE = 4
"""A column's chunk is rewritten whole when one row in four of it changes."""


def by_chunk(slots: np.ndarray, size: int) -> Iterator[tuple[int, slice]]:
  """Yields (chunk, range of positions) for ascending slots."""
  if not len(slots):
    return
  chunks = slots // size
  cuts = np.flatnonzero(np.diff(chunks)) + 1
  starts = np.concatenate([[0], cuts]).tolist()
  stops = np.concatenate([cuts, [len(slots)]]).tolist()
  for start, stop in zip(starts, stops, strict=True):
    yield int(chunks[start]), slice(start, stop)


def row_overwrite(
  key: str, rows: np.ndarray, values: np.ndarray | None, row_bytes: int
) -> Overwrite:
  """An overwrite of some rows of a chunk.

  Args:
    key: the chunk's file.
    rows: ascending rows of the chunk, [M].
    values: their new contents, [M, ...]; None erases them.
    row_bytes: bytes in a row.
  """
  starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
  counts = np.diff(starts, append=len(rows))
  return Overwrite(
    key=key,
    offsets=rows[starts].astype(np.int64) * row_bytes,
    lengths=counts.astype(np.int64) * row_bytes,
    data=None if values is None else values.tobytes(),
  )


def column_overwrite(
  name: str, chunk: int, content: np.ndarray, rows: np.ndarray
) -> Overwrite:
  """An overwrite of the changed rows (sorted, repeats allowed) of a column."""
  key = arrays.chunk_key(name, chunk)
  rows = np.unique(rows)
  if len(rows) * _DENSE >= len(content):
    return Overwrite.whole(key, content.tobytes())
  row_bytes = arrays.COLUMNS[name].row_bytes
  return row_overwrite(key, rows, content[rows], row_bytes)


def embedding_overwrites(
  slots: np.ndarray, embeddings: np.ndarray | None, *, size: int, dim: int
) -> Iterator[Overwrite]:
  """Overwrites that write embeddings into slots (ascending), or erase them."""
  for chunk, part in by_chunk(slots, size):
    yield row_overwrite(
      arrays.chunk_key(arrays.EMBEDDINGS, chunk),
      slots[part] - chunk * size,
      None if embeddings is None else embeddings[part],
      4 * dim,
    )


def text_overwrites(
  start: int, data: bytes, *, size: int
) -> Iterator[Overwrite]:
  """Overwrites that write consecutive bytes of the text array."""
  for chunk in range(start // size, -(-(start + len(data)) // size)):
    first = max(start, chunk * size)
    last = min(start + len(data), (chunk + 1) * size)
    yield Overwrite.whole(
      arrays.chunk_key(arrays.TEXT, chunk),
      data[first - start : last - start],
      offset=first - chunk * size,
    )


def erased_text_overwrites(
  starts: np.ndarray, lengths: np.ndarray, *, size: int
) -> Iterator[Overwrite]:
  """Overwrites that erase ranges of the text array, one for each chunk."""
  ranges: dict[int, list[tuple[int, int]]] = {}
  for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
    stop = start + length
    while start < stop:
      chunk = start // size
      end = min(stop, (chunk + 1) * size)
      ranges.setdefault(chunk, []).append((start - chunk * size, end - start))
      start = end
  for chunk, pairs in ranges.items():
    offsets, lengths = np.array(sorted(pairs), np.int64).T
    yield Overwrite(
      key=arrays.chunk_key(arrays.TEXT, chunk),
      offsets=offsets,
      lengths=lengths,
      data=None,
    )


def metadata_overwrites(
  old: manifest.Manifest, new: manifest.Manifest
) -> list[Overwrite]:
  """Overwrites of the zarr.json files whose shapes change."""
  if (old.shapes, old.version) == (new.shapes, new.version):
    return []
  before, after = old.metadata_files(), new.metadata_files()
  return [
    Overwrite.whole(key, data)
    for key, data in after.items()
    if data != before.get(key)
  ]
