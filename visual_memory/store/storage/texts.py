"""The text array: ranges of it, and many rows' ids without an object for each.

Rows whose records are equally long are looked at together.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64, UInt8, UInt32

from visual_memory.store.errors import StoreDamaged
from visual_memory.store.storage import arrays, crc
from visual_memory.store.storage.manifest import Manifest
from visual_memory.store.storage.place import Files

_MOST_BYTES = 1 << 28
"""Of ids side by side, each with room for the longest."""
_SHORT = 64
"""Bytes of a record whose checksum takes no object of its own."""


def ids_and_checksums(
  text: bytes,
  starts: Int64[np.ndarray, "N"],
  ends: Int64[np.ndarray, "N"],
  id_bytes: Int64[np.ndarray, "N"],
) -> tuple[np.ndarray, UInt32[np.ndarray, "N"]] | None:
  """Each row's id, as text, and the CRC-32 of its whole record.

  Args:
    text: what holds all records.
    starts: where each begins there.
    ends: where it ends.
    id_bytes: of each, the bytes of the id, which comes first.

  Returns:
    Ids of NumPy's StringDType, and checksums. None where rows must be looked
    at one by one.
  """
  most = int(id_bytes.max())
  if most * len(starts) > _MOST_BYTES:
    return None
  ids = np.zeros(len(starts), f"S{max(1, most)}")
  checksums = np.zeros(len(starts), np.uint32)
  for rows, records in _by_length(text, starts, ends - starts):
    checksums[rows] = _checksums(records)
  for rows, found in _by_length(text, starts, id_bytes):
    if not found[:, -1].all():  # NumPy's bytes end before zeros.
      return None
    if not (text.isascii() or _are_utf8(found)):
      return None
    ids[rows] = found.view(f"S{found.shape[1]}")[:, 0]
  return ids.astype(np.dtypes.StringDType()), checksums


def ranges(
  spans: Int64[np.ndarray, "N 3"],
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
  """Where the record of each row begins in the text, and where it ends."""
  starts = spans[:, arrays.START]
  lengths = spans[:, arrays.ID_BYTES] + spans[:, arrays.METADATA_BYTES]
  return starts, starts + lengths


def around(
  files: Files, of: Manifest, spans: Int64[np.ndarray, "N 3"]
) -> tuple[bytes, Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
  """All text from the first to the last of some records, and `ranges` in it."""
  starts, ends = ranges(spans)
  first = int(starts.min())
  return read(files, of, first, int(ends.max())), starts - first, ends - first


def read(files: Files, of: Manifest, start: int, end: int) -> bytes:
  """Bytes of the text array.

  Raises:
    StoreDamaged: a file ends before.
  """
  size = of.text_per_chunk
  parts = []
  for chunk in range(start // size, -(-end // size)):
    first = max(0, start - chunk * size)
    length = min(size, end - chunk * size) - first
    key = arrays.chunk_key(arrays.TEXT, chunk)
    part = files.read(key, start=first, length=length)
    if len(part) < length:
      raise StoreDamaged([f"{key}: ends too early. Restore the file."])
    parts.append(part)
  return parts[0] if len(parts) == 1 else b"".join(parts)


def run_of(rows: Int64[np.ndarray, "N"]) -> Int64[np.ndarray, "N"] | slice:
  """Rows as a slice, which is read faster, where each follows the last."""
  if len(rows) and (np.diff(rows) == 1).all():
    return slice(int(rows[0]), int(rows[-1]) + 1)
  return rows


def _by_length(
  text: bytes, starts: np.ndarray, lengths: np.ndarray
) -> Iterator[tuple[np.ndarray, UInt8[np.ndarray, "M L"]]]:
  """Rows of one length, and their bytes; of no bytes, none."""
  order = np.argsort(
    lengths.astype(np.min_scalar_type(int(lengths.max()))), kind="stable"
  )
  ordered = lengths[order]
  ends = (np.flatnonzero(np.diff(ordered)) + 1).tolist()
  for first, end in itertools.pairwise([0, *ends, len(order)]):
    rows, size = order[first:end], int(ordered[first])
    if size:
      items = np.ndarray(
        (len(text) - size + 1,), f"V{size}", text, strides=(1,)
      )
      yield rows, items[starts[rows]].view(np.uint8).reshape(-1, size)


def _are_utf8(records: UInt8[np.ndarray, "M L"]) -> bool:
  """Whether each is UTF-8, which NumPy takes on trust."""
  ended = np.pad(records, ((0, 0), (0, 1)))  # A zero breaks a sequence off.
  try:
    ended.tobytes().decode()
  except UnicodeDecodeError:
    return False
  return True


def _checksums(records: UInt8[np.ndarray, "M L"]) -> UInt32[np.ndarray, "M"]:
  """The CRC-32 of each record."""
  if records.shape[1] <= _SHORT:
    return crc.of_short(records)
  items = records.view(f"V{records.shape[1]}")[:, 0].tolist()
  return np.fromiter(map(crc.crc32, items), np.uint32, len(records))
