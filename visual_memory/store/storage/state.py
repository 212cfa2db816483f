"""One generation of a store, as a reader or the writer has it in memory.

Everything is read when it is needed; what was read of the small columns is
held. All of it is checked: columns against the manifest, embeddings and text
against the columns. A reader that an edit overtakes therefore finds checksums
that disagree, and `generations.consistently` lets it read again; it never sees
a mixture.
"""

import functools
import json
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float32

from visual_memory import parallel
from visual_memory.checks import are_unit_rows, check_unique, empty_ids
from visual_memory.store.errors import StoreDamaged
from visual_memory.store.storage import (
  arrays,
  crc,
  manifest,
  recent_steps,
  texts,
)
from visual_memory.store.storage.arrays import EMBEDDINGS, TEXT
from visual_memory.store.storage.columns import Columns, check_sizes
from visual_memory.store.storage.overwrites import by_chunk
from visual_memory.store.storage.place import Files
from visual_memory.types import Ids

_MANY = 256
"""From this many rows on, whole chunks are read rather than single rows."""
_IDS_AT_ONCE = 1 << 20


class State:
  """A generation of a store, which `advance` and `move_to` make a later one.

  Attributes:
    files: where the store is.
    manifest: what it holds.
    columns: the small arrays.
    source: the manifest's file, to see at a glance that nothing changed.
    steps: what led to it.
  """

  def __init__(
    self,
    files: Files,
    of: manifest.Manifest,
    columns: Columns | None = None,
  ):
    """A generation of which nothing is read yet.

    Raises:
      StoreDamaged: the files are not of the size that the manifest says.
    """
    self.files, self.manifest = files, of
    self.columns = Columns(files, of) if columns is None else columns
    self.source = b""
    self.steps: recent_steps.Steps = ()

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
    """The id of every slot, "" where there is no row; see `empty_ids`."""
    ids = empty_ids(self.manifest.num_slots)
    rows = np.sort(self.rows)  # As their text mostly lies.
    for start in range(0, len(rows), _IDS_AT_ONCE):
      some = rows[start : start + _IDS_AT_ONCE]
      ids[texts.run_of(some)] = self._read_ids_at_once(some)
    try:
      check_unique(ids[texts.run_of(rows)])
    except ValueError:
      raise StoreDamaged([f"{TEXT}: two rows have the same id."]) from None
    return ids

  def copy(self) -> "State":
    """A state that later generations of this one leave as it is."""
    state = State(self.files, self.manifest, self.columns.copy())
    if "ids" in vars(self):
      state.ids = self.ids.copy()
    return state

  def fits(self, of: manifest.Manifest) -> bool:
    """Whether a manifest is a later generation of these chunks."""
    shape = lambda m: (m.store_id, m.version, m.rows_per_chunk, m.dim)
    return shape(of) == shape(self.manifest)

  def move_to(self, of: manifest.Manifest) -> None:
    """Becomes a generation that somebody else made, and that `fits`.

    Raises:
      StoreDamaged: the files are not of the size that the manifest says.
    """
    old = self.manifest.chunks
    changed = [
      chunk
      for chunk, entry in enumerate(of.chunks)
      if chunk >= len(old) or old[chunk] != entry
    ]
    check_sizes(self.files, of, changed)
    dropped = range(len(of.chunks), len(old))
    before = recent_steps.serials_of(
      self.columns, (*changed, *dropped), there=len(old)
    )
    self.columns.move_to(of, changed, {})
    self.drop_ids()
    self._become(of, before, b"")

  def advance(
    self,
    new: manifest.Manifest,
    written: dict[tuple[str, int], np.ndarray],
    *,
    source: bytes,
  ) -> None:
    """Becomes the next generation, which this process made.

    Args:
      new: its manifest.
      written: the new content of every column's chunk that changed.
      source: the manifest's file.
    """
    dropped = range(len(new.chunks), len(self.manifest.chunks))
    moved = {chunk for name, chunk in written if name == "serials"}
    before = recent_steps.serials_of(
      self.columns, (*moved, *dropped), there=len(self.manifest.chunks)
    )
    self.columns.move_to(new, (), written)
    if "ids" in vars(self):
      ids, common = self.ids, min(len(self.ids), new.num_slots)
      self.ids = empty_ids(new.num_slots)
      self.ids[:common] = ids[:common]
    self._become(new, before, source, {chunk for _, chunk in written})

  def _become(
    self,
    of: manifest.Manifest,
    serials: recent_steps.Serials | None,
    source: bytes,
    others: Iterable[int] = (),
  ) -> None:
    """Goes to a manifest whose columns there are already."""
    self.steps = recent_steps.after(
      self.steps, self.manifest, serials, self.columns, others=others
    )
    self.manifest, self.source = of, source
    vars(self).pop("rows", None)

  def remember(self, slots: np.ndarray, ids: np.ndarray) -> None:
    """Notes the ids of rows that were added, where any are held."""
    if "ids" in vars(self):
      self.ids[slots] = ids

  def forget(self, slots: np.ndarray) -> None:
    """Drops the ids of rows that were removed."""
    if "ids" in vars(self):
      self.ids[slots] = ""

  def drop_ids(self) -> None:
    """Forgets the ids, after rows have moved, or others changed them."""
    vars(self).pop("ids", None)

  def find_or_none(self, ids: Ids) -> np.ndarray:
    """The slots of these ids, int64; -1 where the store lacks one.

    Only the text of rows whose id has the checksum of one of them is read.
    """
    if self.manifest.version == 1:  # Nothing else tells where an id is.
      near = self.rows
    else:
      wanted = np.unique(crc.of_texts(ids))
      near = self.columns.where("id_checksums", wanted)
    slot_of = dict(zip(self.read_ids(near), near.tolist(), strict=True))
    return np.array([slot_of.get(i, -1) for i in ids], np.int64)

  def read_ids(self, slots: np.ndarray) -> list[str]:
    """The ids of rows, from the text."""
    spans, records = self.columns.at("spans", slots), self.records(slots)
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

  def _read_ids_at_once(self, slots: np.ndarray) -> Ids:
    """`read_ids`, without an object for each of many."""
    spans = self.columns.at("spans", slots)
    found = None
    if len(slots) >= _MANY:
      around = texts.around(self.files, self.manifest, spans)
      found = texts.ids_and_checksums(*around, spans[:, arrays.ID_BYTES])
    if found is None:
      return self.read_ids(slots)
    self._check_texts(slots, found[1])
    return found[0]

  def metadata_texts(self, slots: np.ndarray) -> list[bytes]:
    """The metadata of these rows as it was written; see `records`."""
    id_bytes = self.columns.at("spans", slots)[:, arrays.ID_BYTES].tolist()
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
    self.columns.at("checksums", slots)  # Before the threads begin.
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
      checksums = crc.of_rows(rows)
    else:
      chunk = _scratch(size * row_bytes)
      done = self.files.read_into(key, memoryview(chunk))
      chunk[done:] = 0
      rows = chunk.view(np.float32).reshape(size, -1)
      whole = self._is_whole(int(slots[0]) // size, chunk)
      rows = rows if len(local) == size else rows[local]
      if whole:
        return rows, slots[~are_unit_rows(rows)]
      checksums = crc.of_rows(rows)
    expected = self.columns.at("checksums", slots)[:, arrays.EMBEDDING_CRC]
    return rows, slots[(checksums != expected) | ~are_unit_rows(rows)]

  def _is_whole(self, chunk: int, data: np.ndarray) -> bool:
    """Whether all rows of a chunk, empty ones too, are what was written."""
    row_bytes = 4 * self.manifest.dim
    checksums = self.columns.chunk("checksums", chunk)[:, arrays.EMBEDDING_CRC]
    empty = np.uint32(crc.crc32(bytes(row_bytes)))
    checksums = np.where(self.columns.chunk("mask", chunk), checksums, empty)
    return crc.joined(checksums, row_bytes) == crc.crc32(data)

  def describe(self, slot: int) -> str:
    """A sentence about a damaged embedding."""
    key = arrays.chunk_key(EMBEDDINGS, slot // self.manifest.rows_per_chunk)
    return (
      f"{key}: the embedding in row {slot} (serial"
      f" {self._serial(slot)}) is not what was written, or not of"
      " unit length. Remove that row, or restore the file."
    )

  def _serial(self, slot: int | np.integer) -> int:
    return int(self.columns.at("serials", np.array([slot]))[0])

  def records(self, slots: np.ndarray) -> list[bytes]:
    """The text of rows: each id followed by its metadata.

    Raises:
      StoreDamaged: names the rows whose bytes are not what was written.
    """
    spans = self.columns.at("spans", slots)
    if len(slots) < _MANY:
      starts, ends = texts.ranges(spans)
      ranges = zip(starts.tolist(), ends.tolist(), strict=True)
      records = [
        texts.read(self.files, self.manifest, *ends) for ends in ranges
      ]
    else:
      whole, starts, ends = texts.around(self.files, self.manifest, spans)
      ranges = zip(starts.tolist(), ends.tolist(), strict=True)
      records = [whole[start:end] for start, end in ranges]
    checksums = np.fromiter(map(crc.crc32, records), np.uint32, len(records))
    self._check_texts(slots, checksums)
    return records

  def _check_texts(self, slots: np.ndarray, checksums: np.ndarray) -> None:
    """Raises StoreDamaged, naming rows, if records have other checksums."""
    expected = self.columns.at("checksums", slots)[:, arrays.TEXT_CRC]
    bad = slots[checksums != expected]
    if len(bad):
      raise StoreDamaged([
        f"{TEXT}: the id and metadata of row {slot} (serial"
        f" {self._serial(slot)}) are not what was written. Restore"
        " the file."
        for slot in bad
      ])  # fmt: skip


def _scratch(num_bytes: int) -> np.ndarray:
  """This thread's own bytes to read chunks into, over and over."""
  if len(getattr(_LOCAL, "scratch", b"")) < num_bytes:
    _LOCAL.scratch = np.empty(num_bytes, np.uint8)
  return _LOCAL.scratch[:num_bytes]


_LOCAL = threading.local()
