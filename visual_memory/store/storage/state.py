"""One generation of a store, as a reader or the writer has it in memory.

The small columns are held; embeddings and text are read when they are needed.
Everything read is checked: columns against the manifest, embeddings and text
against the columns. A reader that an edit overtakes therefore finds checksums
that disagree, and `generations.consistently` lets it read again; it never sees
a mixture.
"""

import dataclasses
import functools
import json
import threading
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt32

from visual_memory.checks import are_unit_rows
from visual_memory.store.errors import StoreDamaged
from visual_memory.store.storage import arrays, crc, manifest, parallel
from visual_memory.store.storage.arrays import COLUMNS, EMBEDDINGS, TEXT
from visual_memory.store.storage.overwrites import by_chunk
from visual_memory.store.storage.place import Files
from visual_memory.types import UNLABELED, Ids

_MANY = 256
"""From this many rows on, whole chunks are read rather than single rows."""


@dataclasses.dataclass
class State:
  """A generation of a store; only the writer's own ever changes (`advance`).

  Attributes:
    files: where the store is.
    manifest: what it holds.
    columns: arrays.COLUMNS, [num_slots] each.
    source: the manifest's file, to see at a glance that nothing changed.
  """

  files: Files
  manifest: manifest.Manifest
  columns: dict[str, np.ndarray]
  source: bytes = b""

  @classmethod
  def empty(cls, files: Files, of: manifest.Manifest) -> "State":
    """The state of a manifest without chunks."""
    columns = {name: column.empty(0) for name, column in COLUMNS.items()}
    return cls(files, of, columns)

  @functools.cached_property
  def rows(self) -> np.ndarray:
    """The slots that hold rows, in order of insertion, int64."""
    slots = np.flatnonzero(self.columns["mask"])
    serials = self.columns["serials"][slots]
    if not np.all(serials[1:] > serials[:-1]):
      order = np.argsort(serials)
      slots, serials = slots[order], serials[order]
      if not np.all(serials[1:] > serials[:-1]):
        raise StoreDamaged(["serials: two rows have the same one."])
    return slots

  @functools.cached_property
  def ids(self) -> np.ndarray:
    """The id of every slot, None where there is no row (object array)."""
    ids = np.full(self.manifest.num_slots, None, dtype=object)
    if len(self.rows):
      found = self.read_ids(self.rows)
      if len(set(found)) < len(found):
        raise StoreDamaged([f"{TEXT}: two rows have the same id."])
      ids[self.rows] = found
    return ids

  def copy(self) -> "State":
    """A state that `advance` on this one leaves as it is."""
    columns = {name: array.copy() for name, array in self.columns.items()}
    state = State(self.files, self.manifest, columns)
    if "ids" in vars(self):
      state.ids = self.ids.copy()
    return state

  def advance(
    self,
    new: manifest.Manifest,
    changed: dict[tuple[str, int], np.ndarray],
    *,
    source: bytes,
  ) -> None:
    """Becomes the next generation.

    Args:
      new: its manifest.
      changed: the new content of every column's chunk that changed.
      source: the manifest's file.
    """
    size = new.rows_per_chunk
    for name, column in COLUMNS.items():
      more = new.num_slots - self.manifest.num_slots
      old = self.columns[name]
      if more > 0:
        old = np.concatenate([old, column.empty(more)])
      self.columns[name] = old[: new.num_slots]
    for (name, chunk), content in changed.items():
      if chunk < len(new.chunks):
        self.columns[name][chunk * size : (chunk + 1) * size] = content
    if "ids" in vars(self):
      more = np.full(max(0, new.num_slots - len(self.ids)), None, dtype=object)
      if len(more):
        self.ids = np.concatenate([self.ids, more])
      self.ids = self.ids[: new.num_slots]
    self.manifest, self.source = new, source
    vars(self).pop("rows", None)

  def remember(self, slots: np.ndarray, ids: np.ndarray) -> None:
    """Notes the ids of rows that were added, where any are held."""
    if "ids" in vars(self):
      self.ids[slots] = ids

  def forget(self, slots: np.ndarray) -> None:
    """Drops the ids of rows that were removed."""
    if "ids" in vars(self):
      self.ids[slots] = None

  def drop_ids(self) -> None:
    """Forgets where ids are, after rows have moved."""
    vars(self).pop("ids", None)

  def find_or_none(self, ids: Ids) -> np.ndarray:
    """The slots of these ids, int64; -1 where the store lacks one.

    Only the text of rows whose id has the checksum of one of them is read.
    """
    if self.manifest.version == 1:  # Nothing else tells where an id is.
      near = self.rows
    else:
      wanted = np.unique(id_checksums(ids))
      near = _equal_to_any(self.columns["id_checksums"], wanted)
      near = np.flatnonzero(near & self.columns["mask"])
    slot_of = dict(zip(self.read_ids(near), near.tolist(), strict=True))
    return np.array([slot_of.get(i, -1) for i in ids], np.int64)

  def read_ids(self, slots: np.ndarray) -> list[str]:
    """The ids of rows, from the text."""
    spans, records = self.columns["spans"][slots], self.records(slots)
    id_bytes = spans[:, arrays.ID_BYTES].tolist()
    try:
      if not spans[:, arrays.METADATA_BYTES].any():
        return list(map(bytes.decode, records))
      return [
        record[:length].decode()
        for record, length in zip(records, id_bytes, strict=True)
      ]
    except UnicodeDecodeError as error:
      raise StoreDamaged([f"{TEXT}: an id is no UTF-8: {error}."]) from error

  def metadata_texts(self, slots: np.ndarray) -> list[bytes]:
    """The metadata of these rows as it was written; see `records`."""
    id_bytes = self.columns["spans"][slots, arrays.ID_BYTES].tolist()
    return [
      record[length:] or b"{}"
      for record, length in zip(self.records(slots), id_bytes, strict=True)
    ]

  def metadata(self, slots: np.ndarray) -> list[dict[str, Any]]:
    """The metadata of these rows; StoreDamaged if one is no JSON object."""
    try:
      found = list(map(json.loads, self.metadata_texts(slots)))
    except (ValueError, RecursionError) as error:
      raise StoreDamaged([f"{TEXT}: metadata is no JSON: {error}."]) from error
    if not all(isinstance(value, dict) for value in found):
      raise StoreDamaged([f"{TEXT}: metadata is no JSON object."])
    return found

  def column_problems(self, chunk: int) -> list[str]:
    """Values of a chunk's columns that no row has."""
    of = self.manifest
    here = slice(chunk * of.rows_per_chunk, (chunk + 1) * of.rows_per_chunk)
    columns = {name: column[here] for name, column in self.columns.items()}
    mask = columns["mask"].view(np.uint8)
    if mask.max(initial=0) > 1:
      return [f"mask: chunk {chunk} holds something else than true and false."]
    mask = columns["mask"]
    labels, serials = columns["labels"][mask], columns["serials"][mask]
    spans = columns["spans"][mask]
    wrong = {
      "labels: there are labels without a class name.": (
        (labels < UNLABELED) | (labels >= len(of.class_names))
      ),
      "serials: not every row has a serial of its own.": (
        (serials < 0) | (serials >= of.next_serial)
      ),
      "spans: a row's text lies outside of the text.": (
        (spans < 0).any(axis=1)
        | (spans > of.text_end).any(axis=1)
        | (spans.sum(axis=1) > of.text_end)
      ),
    }
    return [problem for problem, where in wrong.items() if where.any()]

  def embeddings(self, slots: np.ndarray) -> Float32[np.ndarray, "N D"]:
    """The embeddings in these slots (all of them rows), checked.

    Raises:
      StoreDamaged: names the rows whose bytes are not what was written.
    """
    out = np.empty((len(slots), self.manifest.dim), np.float32)
    order = np.argsort(slots, kind="stable")

    def read(group: tuple[int, slice]) -> np.ndarray:
      part = order[group[1]]
      out[part], bad = self.chunk_rows(slots[part])
      return bad

    groups = by_chunk(slots[order], self.manifest.rows_per_chunk)
    bad = sum((b.tolist() for b in parallel.run(read, groups)), [])
    if bad:
      raise StoreDamaged([self.describe(slot) for slot in bad])
    return out

  def chunk_rows(
    self, slots: np.ndarray
  ) -> tuple[Float32[np.ndarray, "N D"], np.ndarray]:
    """The embeddings of slots of one chunk, and which slots are damaged.

    The embeddings may be overwritten by this thread's next call.
    """
    size, row_bytes = self.manifest.rows_per_chunk, 4 * self.manifest.dim
    key = arrays.chunk_key(EMBEDDINGS, int(slots[0]) // size)
    local = slots % size
    if len(slots) < _MANY:
      parts = [
        self.files.read(key, start=row * row_bytes, length=row_bytes)
        for row in local.tolist()
      ]
      data = b"".join(part.ljust(row_bytes, b"\0") for part in parts)
      rows = np.frombuffer(data, np.float32).reshape(len(slots), -1)
      checksums = row_checksums(rows)
    else:
      chunk = _scratch(size * row_bytes)
      done = self.files.read_into(key, memoryview(chunk))
      chunk[done:] = 0
      rows = chunk.view(np.float32).reshape(size, -1)
      whole = self._is_whole(int(slots[0]) // size, chunk)
      rows = rows if len(local) == size else rows[local]
      if whole:
        return rows, slots[~are_unit_rows(rows)]
      checksums = row_checksums(rows)
    expected = self.columns["checksums"][slots, arrays.EMBEDDING_CRC]
    return rows, slots[(checksums != expected) | ~are_unit_rows(rows)]

  def _is_whole(self, chunk: int, data: np.ndarray) -> bool:
    """Whether all rows of a chunk, empty ones too, are what was written."""
    size, row_bytes = self.manifest.rows_per_chunk, 4 * self.manifest.dim
    here = slice(chunk * size, (chunk + 1) * size)
    checksums = self.columns["checksums"][here, arrays.EMBEDDING_CRC]
    empty = np.uint32(crc.crc32(bytes(row_bytes)))
    checksums = np.where(self.columns["mask"][here], checksums, empty)
    return crc.joined(checksums, row_bytes) == crc.crc32(data)

  def describe(self, slot: int) -> str:
    """A sentence about a damaged embedding."""
    key = arrays.chunk_key(EMBEDDINGS, slot // self.manifest.rows_per_chunk)
    return (
      f"{key}: the embedding in row {slot} (serial"
      f" {self.columns['serials'][slot]}) is not what was written, or not of"
      " unit length. Remove that row, or restore the file."
    )

  def records(self, slots: np.ndarray) -> list[bytes]:
    """The text of rows: each id followed by its metadata.

    Raises:
      StoreDamaged: names the rows whose bytes are not what was written.
    """
    spans = self.columns["spans"][slots]
    lengths = spans[:, arrays.ID_BYTES] + spans[:, arrays.METADATA_BYTES]
    starts = spans[:, arrays.START]
    ranges = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
    if len(slots) < _MANY:
      records = [self.text(start, end) for start, end in ranges]
    else:
      whole = self.text(0, self.manifest.text_end)
      records = [whole[start:end] for start, end in ranges]
    checksums = np.fromiter(map(crc.crc32, records), np.uint32, len(records))
    expected = self.columns["checksums"][slots, arrays.TEXT_CRC]
    bad = slots[checksums != expected]
    if len(bad):
      raise StoreDamaged([
        f"{TEXT}: the id and metadata of row {slot} (serial"
        f" {self.columns['serials'][slot]}) are not what was written. Restore"
        " the file."
        for slot in bad
      ])  # fmt: skip
    return records

  def text(self, start: int, end: int) -> bytes:
    """Bytes of the text array.

    Raises:
      StoreDamaged: a file ends before.
    """
    size = self.manifest.text_per_chunk
    parts = []
    for chunk in range(start // size, -(-end // size)):
      first = max(0, start - chunk * size)
      length = min(size, end - chunk * size) - first
      key = arrays.chunk_key(TEXT, chunk)
      part = self.files.read(key, start=first, length=length)
      if len(part) < length:
        raise StoreDamaged([f"{key}: ends too early. Restore the file."])
      parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def id_checksums(ids: Ids) -> UInt32[np.ndarray, "N"]:
  """The CRC-32 of every id's bytes."""
  data = (row_id.encode("utf-8", "surrogatepass") for row_id in ids)
  return np.fromiter(map(crc.crc32, data), np.uint32, len(ids))


def _equal_to_any(column: np.ndarray, wanted: np.ndarray) -> np.ndarray:
  """Which values are among those wanted (ascending)."""
  if len(wanted) < 8:
    found = np.zeros(len(column), bool)
    for value in wanted:
      found |= column == value
    return found
  places = np.minimum(np.searchsorted(wanted, column), len(wanted) - 1)
  return wanted[places] == column


def _scratch(num_bytes: int) -> np.ndarray:
  """This thread's own bytes to read chunks into, over and over."""
  if len(getattr(_LOCAL, "scratch", b"")) < num_bytes:
    _LOCAL.scratch = np.empty(num_bytes, np.uint8)
  return _LOCAL.scratch[:num_bytes]


_LOCAL = threading.local()


def row_checksums(rows: Float32[np.ndarray, "N D"]) -> UInt32[np.ndarray, "N"]:
  """The CRC-32 of every row's bytes."""
  if not rows.size:
    return np.zeros(len(rows), np.uint32)
  rows = np.ascontiguousarray(rows)
  return np.fromiter(map(crc.crc32, rows), np.uint32, len(rows))
