"""What is computed from a store's rows and kept beside them, in `derived/`.

Cached neighbors, reliability counts, a calibration, an approximate index: each
is one file, bound to the generation that it was computed from. Every edit
erases them all before it returns, since any of them could remember a row.

  store.put_derived("index", pack("index_dir"), generation=generation)
  data = store.derived("index")            # None once the store is edited
"""

import io
import os
import struct
import tarfile
import zlib

from visual_memory.store.errors import StoreDamaged, StoreError
from visual_memory.store.storage import journal, keys
from visual_memory.store.storage.keys import DERIVED
from visual_memory.store.storage.place import Files

_HEADER = struct.Struct("<8sQI")  # magic, generation, CRC-32 of the content
_MAGIC = b"VMDERIV1"


def put(
  files: Files, name: str, data: bytes, *, made_from: int, current: int
) -> None:
  """Keeps data; call it with the writer's lock held.

  Args:
    files: of the store.
    name: a file name.
    data: what to keep.
    made_from: the generation that it was computed from.
    current: the generation of the store.

  Raises:
    StoreError: they are not the same.
    ValueError: a name that is no file name.
  """
  key = _key(name)
  if made_from != current:
    raise StoreError(
      f"{name!r} was computed from generation {made_from}, but the store is at"
      f" {current}: compute it again."
    )
  files.sync([journal.KEY])  # Else a power loss could bring back an erasure.
  header = _HEADER.pack(_MAGIC, made_from, zlib.crc32(data))
  files.create(key, header + data)


def get(files: Files, name: str, current: int) -> bytes | None:
  """What was kept by a name, if it belongs to the current generation."""
  kept = files.read(_key(name))
  if len(kept) < _HEADER.size:
    return None
  magic, made_from, checksum = _HEADER.unpack_from(kept)
  data = kept[_HEADER.size :]
  whole = magic == _MAGIC and zlib.crc32(data) == checksum
  return data if whole and made_from == current else None


def pack(folder: str | os.PathLike) -> bytes:
  """A folder's files as bytes (a tar archive)."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as archive:
    archive.add(folder, arcname=".")
  return buffer.getvalue()


def unpack(data: bytes, folder: str | os.PathLike) -> None:
  """Writes what `pack` read into a folder, and nothing outside of it.

  Raises:
    StoreDamaged: it is no archive, or has files that lead elsewhere.
  """
  try:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
      archive.extractall(folder, filter="data")
  except (tarfile.TarError, EOFError) as error:
    raise StoreDamaged([
      f"{DERIVED}: cannot be unpacked: {error}. Compute it again."
    ]) from error  # fmt: skip


def _key(name: str) -> str:
  """The file of a name, directly in the folder that every edit empties."""
  key = f"{DERIVED}/{name}"
  odd = not isinstance(name, str) or name.startswith(".") or "\\" in name
  if odd or not keys.is_derived(key):
    raise ValueError(
      f"{name!r} is no file name: leave out slashes and a dot in front."
    )
  return key
