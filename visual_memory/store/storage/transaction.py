"""One edit: what it changes, turned into files and committed.

Chunks that the committed manifest does not know yet are written whole, before
the commit: nobody can see them. Everything else goes through the journal, as
the few ranges of bytes that change.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from visual_memory import parallel
from visual_memory.store.errors import StoreLocked
from visual_memory.store.storage import (
  arrays,
  crc,
  generations,
  journal,
  keys,
  manifest,
  overwrites,
  upkeep,
)
from visual_memory.store.storage.arrays import COLUMNS, EMBEDDINGS, TEXT
from visual_memory.store.storage.keys import DERIVED, RECEIPTS
from visual_memory.store.storage.place import Overwrite
from visual_memory.store.storage.state import State

MakeReceipt = Callable[[manifest.Manifest], tuple[bytes, manifest.Trail]]


class Transaction:
  """Collects the changes of one edit of a state, then commits them.

  Slots are given in ascending order everywhere.
  """

  def __init__(self, state: State):
    """An edit of this state that changes nothing yet."""
    self.state = state
    self.manifest = dataclasses.replace(
      state.manifest, generation=state.manifest.generation + 1
    )
    self._columns: dict[tuple[str, int], np.ndarray] = {}
    self._touched: dict[tuple[str, int], list[np.ndarray]] = {}
    self._embeddings: list[tuple[np.ndarray, np.ndarray | None]] = []
    self._unchecked: list[tuple[np.ndarray, np.ndarray]] = []
    self._text: list[tuple[int, bytes]] = []
    self._erased_text: list[tuple[np.ndarray, np.ndarray]] = []
    self._writing: Iterator[str] | None = None

  def set(self, **fields) -> None:
    """Changes fields of the manifest."""
    self.manifest = dataclasses.replace(self.manifest, **fields)

  def allocate(self, count: int) -> np.ndarray:
    """Slots for new rows: free ones first (one chunk's worth), then new ones.

    The manifest gets the chunks that they need.
    """
    size = self.manifest.rows_per_chunk
    old = self.manifest.num_slots
    free = np.flatnonzero(~self.state.columns["mask"])[: min(count, size)]
    num_new = count - len(free)
    empty = manifest.Chunk(self.manifest.generation, "")
    self.set(chunks=self.manifest.chunks + (empty,) * -(-num_new // size))
    return np.concatenate([free, np.arange(old, old + num_new)])

  def drop_chunks(self, count: int) -> None:
    """Takes the last chunks, which must be empty, off the arrays."""
    self.set(chunks=self.manifest.chunks[: len(self.manifest.chunks) - count])

  def put(
    self, name: str, slots: np.ndarray, values: np.ndarray, which: int = 0
  ) -> None:
    """Sets rows of a column.

    Args:
      name: of the column.
      slots: [M].
      values: [M] or [M, width]; [M] sets only element `which` of wider rows.
      which: see values.
    """
    size = self.manifest.rows_per_chunk
    for chunk, part in overwrites.by_chunk(slots, size):
      target = self._chunk(name, chunk)
      if values.ndim < target.ndim:
        target = target[:, which]
      rows = slots[part] - chunk * size
      target[rows] = values[part]
      if chunk < len(self.state.manifest.chunks):  # New ones go whole.
        self._touched[name, chunk].append(rows)

  def put_rows(
    self,
    slots: np.ndarray,
    *,
    embeddings: np.ndarray,
    labels: np.ndarray,
    serials: np.ndarray,
    added: np.ndarray,
  ) -> None:
    """Fills empty slots; their text is put by `put_text`."""
    embeddings = np.ascontiguousarray(embeddings)
    self._embeddings.append((slots, embeddings))
    self.put("labels", slots, labels)
    self.put("serials", slots, serials)
    self.put("mask", slots, np.ones(len(slots), bool))
    self.put("added", slots, added)
    self._unchecked.append((slots, embeddings))

  def clear_rows(self, slots: np.ndarray, *, keep_text: bool = False) -> None:
    """Empties slots: zeros over the embedding and, unless kept, the text."""
    self._embeddings.append((slots, None))
    if not keep_text:
      self.erase_text(self.state.columns.at("spans", slots))
    for name, column in COLUMNS.items():
      self.put(name, slots, column.empty(len(slots)))

  def put_text(
    self, slots: np.ndarray, ids: Sequence[bytes], metadata: Sequence[bytes]
  ) -> None:
    """Appends the records of rows, and says in their spans where they are."""
    count, records = len(ids), ids
    id_bytes = np.fromiter(map(len, ids), np.int64, count)
    lengths = id_bytes
    if any(metadata):
      records = [i + m for i, m in zip(ids, metadata, strict=True)]
      lengths = np.fromiter(map(len, records), np.int64, count)
    starts = self.manifest.text_end + np.cumsum(lengths) - lengths
    spans = np.stack([starts, id_bytes, lengths - id_bytes], axis=1)
    self.put("spans", slots, spans)
    checksums = np.fromiter(map(crc.crc32, records), np.uint32, count)
    self.put("checksums", slots, checksums, arrays.TEXT_CRC)
    if records is not ids:
      checksums = np.fromiter(map(crc.crc32, ids), np.uint32, count)
    self.put("id_checksums", slots, checksums)
    self._text.append((self.manifest.text_end, b"".join(records)))
    self.set(text_end=self.manifest.text_end + int(lengths.sum()))

  def erase_text(self, spans: np.ndarray) -> None:
    """Overwrites the records in these spans with zeros."""
    lengths = spans[:, arrays.ID_BYTES] + spans[:, arrays.METADATA_BYTES]
    self._erased_text.append((spans[:, arrays.START], lengths))

  def replace_text(self, text: bytes) -> None:
    """Makes this the whole text array; the spans are the caller's to put."""
    size = self.manifest.text_per_chunk
    self.set(text_end=len(text))
    self._text = [(0, text.ljust(self.manifest.num_text_chunks * size, b"\0"))]

  def begin_fresh(self, share: slice = slice(None)) -> None:
    """Starts to write the embeddings' part of `write_fresh`, once it is put.

    Until `write_fresh` or `close`, threads are writing.
    """
    rows = self._fresh_chunks(share)
    write = functools.partial(
      upkeep.write_embeddings,
      self.state.files,
      self._embeddings,
      shape=(self.manifest.rows_per_chunk, self.manifest.dim),
    )
    self._writing = parallel.started(write, rows, background=True)

  def close(self) -> None:
    """Waits until what `begin_fresh` started is not writing any more."""
    if self._writing is not None:
      self._writing.close()

  def write_fresh(self, share: slice = slice(None)) -> None:
    """Writes the chunks that no manifest knows yet, or a share of them."""
    old, new = self.state.manifest, self.manifest
    rows = self._fresh_chunks(share)
    texts = range(old.num_text_chunks, new.num_text_chunks)[share]
    if self._writing is None:
      self.begin_fresh(share)
    try:  # All of this while the disk is busy.
      self._put_checksums()
      files, size = self.state.files, new.text_per_chunk
      write = functools.partial(upkeep.write_columns, files, self._columns)
      keys = sum(parallel.run(write, rows), [])
      write = functools.partial(upkeep.write_text, files, self._text, size=size)
      keys += parallel.run(write, texts)
      files.sync(keys)
    finally:
      keys, self._writing = list(self._writing), None
    self.state.files.sync(keys)

  def commit(
    self,
    *,
    receipt: MakeReceipt | None = None,
    fresh_written: bool = False,
  ) -> None:
    """Makes the edit durable; the state becomes the new generation.

    An edit that changes nothing does nothing.

    Args:
      receipt: from the final manifest, a line for the receipts and the trail
        that ends with it.
      fresh_written: whether all processes have called `write_fresh`, as in a
        creation; its state stays empty, since nobody needs it any more.

    Raises:
      OSError: the disk is full or broken; nothing has changed.
      StoreUnfinished: it broke later; the edit is in the store.
      StoreLocked: the writer's lock was lost; nothing has changed.
    """
    files, old = self.state.files, self.state.manifest
    if not fresh_written and not self._changes():
      return
    try:
      if not fresh_written:
        self.write_fresh()
      new = self._with_checksums()
      changes = [*self._row_overwrites(), *self._text_overwrites()]
      changes += overwrites.metadata_overwrites(old, self.manifest)
      if receipt is not None:
        line, trail = receipt(new)
        new = dataclasses.replace(new, trail=trail)
        files.reserve(RECEIPTS, trail.num_bytes)
        with contextlib.suppress(OSError):  # For the next one.
          files.reserve(RECEIPTS, keys.receipts_bytes(trail.num_bytes))
        changes.append(
          Overwrite.whole(RECEIPTS, line, offset=old.trail.num_bytes)
        )
      data = new.to_bytes(at_least=len(files.read(manifest.KEY)))
      files.reserve(manifest.KEY, len(data))
      changes.append(Overwrite.whole(manifest.KEY, data))
      edit = journal.Journal(overwrites=changes, erased=self._erased())
      with files.gate(shared=False):
        generations.check_current(files, old)
        journal.commit(files, edit)
    except OSError:
      with contextlib.suppress(StoreLocked):  # Then they may be another's.
        generations.check_current(files, old)
        if journal.pending(files) is None:
          upkeep.erase_unknown(files, old)
      raise
    if not fresh_written:
      self.state.advance(new, self._columns, source=data)

  def _changes(self) -> bool:
    """Whether anything is different from the state."""
    known = dataclasses.replace(
      self.manifest, generation=self.state.manifest.generation
    )
    slots = [*self._embeddings, *self._erased_text]
    written = self._columns or any(len(first) for first, _ in slots)
    return bool(
      written or any(d for _, d in self._text) or known != self.state.manifest
    )

  def _fresh_chunks(self, share: slice) -> range:
    """The row chunks that no manifest knows yet, or a share of them."""
    old, new = self.state.manifest.chunks, self.manifest.chunks
    return range(len(old), len(new))[share]

  def _chunk(self, name: str, chunk: int) -> np.ndarray:
    """The new content of a column's chunk, to be changed."""
    if (name, chunk) not in self._columns:
      size = self.manifest.rows_per_chunk
      there = chunk < len(self.state.manifest.chunks)
      self._columns[name, chunk] = (
        self.state.columns.chunk(name, chunk).copy()
        if there
        else COLUMNS[name].empty(size)
      )
      self._touched[name, chunk] = []
    return self._columns[name, chunk]

  def _put_checksums(self) -> None:
    """The checksums of new embeddings, which take a while."""
    for slots, embeddings in self._unchecked:
      checksums = crc.of_rows(embeddings)
      self.put("checksums", slots, checksums, arrays.EMBEDDING_CRC)
    self._unchecked = []

  def _with_checksums(self) -> manifest.Manifest:
    """The manifest, with the checksums of every chunk that changed."""
    chunks = list(self.manifest.chunks)
    for index, chunk in enumerate(chunks):
      changed = {name for name in COLUMNS if (name, index) in self._columns}
      if not changed:
        continue
      checksums = "".join(
        f"{crc.crc32(self._columns[name, index]):08x}"
        if name in changed
        else chunk.checksum(name)
        for name in COLUMNS
      )
      chunks[index] = manifest.Chunk(self.manifest.generation, checksums)
    self.set(chunks=tuple(chunks))
    return self.manifest

  def _row_overwrites(self) -> list[Overwrite]:
    """Changes of row chunks that were there before and still are."""
    known = min(len(self.state.manifest.chunks), len(self.manifest.chunks))
    size = self.manifest.rows_per_chunk
    found = [
      overwrites.column_overwrite(name, chunk, content, np.concatenate(rows))
      for (name, chunk), content in self._columns.items()
      if chunk < known and (rows := self._touched[name, chunk])
    ]
    for slots, embeddings in self._embeddings:
      count = np.searchsorted(slots, known * size)
      found += overwrites.embedding_overwrites(
        slots[:count],
        None if embeddings is None else embeddings[:count],
        size=size,
        dim=self.manifest.dim,
      )
    return found

  def _text_overwrites(self) -> list[Overwrite]:
    """Changes of text chunks that were there before and still are."""
    old, new = self.state.manifest, self.manifest
    size = new.text_per_chunk
    end = min(old.num_text_chunks, new.num_text_chunks) * size
    found = []
    for starts, lengths in self._erased_text:
      found += overwrites.erased_text_overwrites(starts, lengths, size=size)
    for start, data in self._text:
      data = data[: max(0, end - start)]
      found += overwrites.text_overwrites(start, data, size=size)
    return found

  def _erased(self) -> list[str]:
    """Files that the edit deletes: dropped chunks, and all that was derived."""
    old, new = self.state.manifest, self.manifest
    dropped = [
      arrays.chunk_key(name, chunk)
      for chunk in range(len(new.chunks), len(old.chunks))
      for name in (*COLUMNS, EMBEDDINGS)
    ]
    dropped += [
      arrays.chunk_key(TEXT, chunk)
      for chunk in range(new.num_text_chunks, old.num_text_chunks)
    ]
    return dropped + self.state.files.keys(DERIVED)
