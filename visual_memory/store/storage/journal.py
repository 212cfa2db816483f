"""The redo journal: an edit is in the store once it is in here.

An edit first writes all its new bytes into the journal, durably; that moment
commits it. Then the files are changed in place and synced, all at once, and
the journal is overwritten with zeros. A process that dies in between leaves a
journal that the next one applies again: every overwrite may be applied any
number of times. Nobody waits for the zeros to reach the disk: a power loss that
brings the journal back brings back an edit that is in the store already.

The journal holds new bytes only. A removed row's are zeros, stored as a length,
so nothing that was removed is ever in it.
"""

import dataclasses
import functools
import json
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from visual_memory import parallel
from visual_memory.store.errors import (
  StoreDamaged,
  StoreUnfinished,
  sentence,
)
from visual_memory.store.storage import keys, manifest
from visual_memory.store.storage.keys import JOURNAL as KEY
from visual_memory.store.storage.place import Files, Overwrite

_MAGIC = b"VMJRNL01"
_HEADER = struct.Struct("<8sQI")  # magic, bytes of body, CRC-32 of body
_RESERVED = 1 << 16
"""Bytes the journal always has, so that small removals work on a full disk."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Journal:
  """An edit's physical changes.

  Attributes:
    overwrites: ranges of files and their new bytes.
    erased: files that are deleted after the overwrites.
  """

  overwrites: Sequence[Overwrite]
  erased: Sequence[str] = ()

  def to_bytes(self) -> bytes:
    """The file."""
    header = {
      "patches": [
        [p.key, len(p.offsets), -1 if p.data is None else len(p.data)]
        for p in self.overwrites
      ],
      "erased": list(self.erased),
    }
    parts = [json.dumps(header).encode(), b"\n"]
    for overwrite in self.overwrites:
      parts += [overwrite.offsets.tobytes(), overwrite.lengths.tobytes()]
      parts += [] if overwrite.data is None else [overwrite.data]
    body = b"".join(parts)
    return _HEADER.pack(_MAGIC, len(body), zlib.crc32(body)) + body


def create(files: Files) -> None:
  """An empty journal."""
  files.create(KEY, bytes(_RESERVED))


def exists(files: Files) -> bool:
  """Whether a store was begun in these files."""
  return files.size(KEY) > 0


def pending(files: Files) -> Journal | None:
  """The committed edit that may not have reached all its files, if any.

  Raises:
    StoreDamaged: it would change what no edit of this store changes.
  """
  header = files.read(KEY, length=_HEADER.size)
  if len(header) < _HEADER.size:
    return None
  magic, length, checksum = _HEADER.unpack(header)
  if magic != _MAGIC:
    return None
  body = files.read(KEY, start=_HEADER.size, length=length)
  if len(body) < length or zlib.crc32(body) != checksum:
    return None  # Its writer died before it was whole: it was not committed.
  return _decode(body)


def commit(files: Files, journal: Journal) -> None:
  """Makes an edit durable, then applies it and erases the journal.

  Call it with the gate held alone.

  Raises:
    OSError: nothing has changed.
    StoreUnfinished: the edit is part of the store, and `recover` finishes it.
  """
  data = journal.to_bytes()
  try:
    files.reserve(KEY, len(data))
    files.overwrite(Overwrite.whole(KEY, data))
    files.sync([KEY])
  except BaseException:
    purge(files)  # Whatever part of it was written, it is not committed.
    raise
  try:
    finish(files, journal)
  except OSError as error:
    raise StoreUnfinished(
      f"The edit is in the store {files!r}, but writing it to all files failed"
      f" ({sentence(error).rstrip('.')}): the next one that opens the store"
      " finishes it. Do not make the edit again."
    ) from error


def finish(files: Files, journal: Journal) -> None:
  """Applies a committed journal, checks what it erased, and erases it.

  The manifest is written last: readers without a lock then see its generation
  only when everything that it describes is there.
  """
  by_file: dict[str, list[Overwrite]] = {}
  for overwrite in journal.overwrites:
    by_file.setdefault(overwrite.key, []).append(overwrite)
  last = by_file.pop(manifest.KEY, [])
  parallel.run(functools.partial(_apply, files), by_file.values())
  parallel.run(files.erase, journal.erased)
  _apply(files, last)
  files.sync([*by_file, *(overwrite.key for overwrite in last)])
  purge(files)


def purge(files: Files) -> None:
  """Overwrites the journal with zeros; the next journal's sync is theirs too.

  So whatever an earlier journal held is off the disk when a removal, whose own
  journal holds nothing of what it removes, is committed.
  """
  size = files.size(KEY)
  if size > _RESERVED:
    files.erase(KEY)
    create(files)
  else:
    files.overwrite(_zeros(KEY, size))


def recover(files: Files) -> None:
  """Finishes or discards what a dead writer left in the journal.

  Call it with the writer's lock held.

  Raises:
    StoreDamaged: it is of no edit of this store; nothing is changed.
  """
  if not files.read(KEY).strip(b"\0"):
    return
  with files.gate(shared=False):
    journal = pending(files)
    if journal is None:
      purge(files)
    else:
      finish(files, journal)


def _decode(body: bytes) -> Journal:
  """The journal of a file's body, checked.

  Raises:
    StoreDamaged: it would change what no edit of this store changes.
  """
  try:
    journal = _parse(body)
  except (ValueError, TypeError, KeyError, RecursionError) as error:
    raise _foreign("cannot be read") from error
  manifests = [o for o in journal.overwrites if o.key == manifest.KEY]
  if len(manifests) != 1 or not manifests[0].is_whole:
    raise _foreign("has not one manifest")
  of = manifest.from_bytes(manifests[0].data)
  for overwrite in journal.overwrites:
    if not overwrite.is_sound:
      raise _foreign("has ranges that no file has")
    keys.check_is_known(overwrite.key, of, overwrite.end)
  for key in journal.erased:
    if not keys.may_be_erased(key) or keys.most_bytes(key, of) is not None:
      raise _foreign(f"would delete {key[:200]!r}")
  return journal


def _foreign(what: str) -> StoreDamaged:
  return StoreDamaged([
    f"{KEY}: {what}. It was not written by this package: do not use this store."
  ])  # fmt: skip


def _parse(body: bytes) -> Journal:
  """The journal that a body says.

  Raises:
    ValueError: it is shorter than it says, or of other types.
  """
  end = body.index(b"\n")
  header = json.loads(body[:end])
  position = end + 1

  def take(num_bytes: int) -> bytes:
    nonlocal position
    position += num_bytes
    if num_bytes < 0 or position > len(body):
      raise ValueError("it is too short")
    return body[position - num_bytes : position]

  overwrites = []
  for key, count, num_bytes in header["patches"]:
    offsets = np.frombuffer(take(8 * count), np.int64)
    lengths = np.frombuffer(take(8 * count), np.int64)
    data = None if num_bytes < 0 else take(num_bytes)
    overwrites.append(
      Overwrite(key=str(key), offsets=offsets, lengths=lengths, data=data)
    )
  return Journal(overwrites=overwrites, erased=list(map(str, header["erased"])))


def _zeros(key: str, size: int) -> Overwrite:
  """An overwrite that erases a file's first bytes."""
  one = np.ones(1, np.int64)
  return Overwrite(key=key, offsets=0 * one, lengths=size * one, data=None)


def _apply(files: Files, overwrites: Sequence[Overwrite]) -> None:
  """Writes the overwrites of one file in their order, and checks erasures."""
  for overwrite in overwrites:
    files.overwrite(overwrite)
  for overwrite in overwrites:
    if overwrite.data is None:
      _check_erased(files, overwrite)


def _check_erased(files: Files, overwrite: Overwrite) -> None:
  """Reads erased ranges back.

  Raises:
    StoreDamaged: names a range that still holds something.
  """
  for offset, zeros in overwrite.ranges():
    if files.read(overwrite.key, start=offset, length=len(zeros)) != zeros:
      raise StoreDamaged([
        f"{overwrite.key}: bytes {offset} to {offset + len(zeros)} could not be"
        " erased."
      ])  # fmt: skip
