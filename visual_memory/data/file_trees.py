"""Files under a root, the same for a directory and for a .zip read in place."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

LOCAL_HEADER_BYTES = 30  # before the file name (PKWARE APPNOTE 4.3.7)


@runtime_checkable
class FileTree(Protocol):
  """Named files, readable from many threads.

  Attributes:
    paths: sorted posix paths relative to the root.
  """

  paths: list[str]

  def read(self, path: str) -> bytes:
    """The content of one file; OSError if it cannot be had."""
    ...

  def stamp(self, path: str) -> tuple[int, int]:
    """Two numbers that change when the file's content does."""
    ...


def open_tree(path: str | os.PathLike) -> FileTree:
  """The files of a directory or of a .zip.

  Raises:
    FileNotFoundError: there is nothing at path.
    ValueError: path is a file, but not a usable .zip.
  """
  path = os.fspath(path)
  if not os.path.exists(path):
    raise FileNotFoundError(f"There is no folder or .zip file at {path!r}.")
  return DirectoryTree(path) if os.path.isdir(path) else ZipTree(path)


class DirectoryTree:
  """The files of a directory; hidden files and folders are left out."""

  def __init__(self, root: str):
    """Lists the directory, following links."""
    self.root = root
    self._stats = {
      os.path.relpath(entry.path, root).replace(os.sep, "/"): entry.stat()
      for entry in _walk(root, above=frozenset())
    }
    self.paths = sorted(self._stats)

  def read(self, path: str) -> bytes:
    """The content of one file."""
    with open(os.path.join(self.root, path), "rb") as file:
      return file.read()

  def stamp(self, path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns."""
    return self._stats[path].st_size, self._stats[path].st_mtime_ns


def _walk(
  directory: str, *, above: frozenset[tuple[int, int]]
) -> Iterator[os.DirEntry]:
  """The files below a directory; a link back to one above it is not entered."""
  try:
    stat = os.stat(directory)
    entries = list(os.scandir(directory))
  except OSError as error:
    raise ValueError(
      f"The folder {directory!r} cannot be read: {error.strerror}."
    ) from error
  here = (stat.st_dev, stat.st_ino)
  if here in above:
    return
  for entry in entries:
    if entry.name.startswith("."):
      continue
    if entry.is_dir():
      yield from _walk(entry.path, above=above | {here})
    elif entry.is_file():
      yield entry


class ZipTree:
  """The files of a .zip, read in place.

  Reads are positioned (`pread`), so that threads share one file without a
  lock; every read is checked against the entry's CRC-32.
  """

  def __init__(self, path: str):
    """Reads the archive's directory.

    Raises:
      ValueError: not a .zip, or an entry is encrypted or compressed by
        another method than deflate.
    """
    self.path = path
    try:
      with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if _visible(entry)]
    except (zipfile.BadZipFile, OSError) as error:
      raise ValueError(
        f"{path!r} is neither a folder nor a readable .zip file: {error}."
      ) from error
    for entry in entries:
      _check_entry(path, entry)
    self._entries = {
      entry.filename: (
        entry.header_offset,
        entry.compress_size,
        entry.compress_type,
        entry.file_size,
        entry.CRC,
      )
      for entry in entries
    }
    self.paths = sorted(self._entries)
    self._file = open(path, "rb", buffering=0)

  def __getstate__(self) -> dict:
    """Everything but the open file."""
    return {k: v for k, v in self.__dict__.items() if k != "_file"}

  def __setstate__(self, state: dict) -> None:
    """Opens the file again."""
    self.__dict__.update(state)
    self._file = open(self.path, "rb", buffering=0)

  def read(self, path: str) -> bytes:
    """The content of one file."""
    offset, size, method, _, crc = self._entries[path]
    # One read covers the local header, whose name and extra field have
    # lengths of their own, in all but the oddest archives.
    guess = LOCAL_HEADER_BYTES + 4 * len(path) + 64
    block = os.pread(self._file.fileno(), guess + size, offset)
    start = LOCAL_HEADER_BYTES
    start += int.from_bytes(block[26:28], "little")
    start += int.from_bytes(block[28:30], "little")
    if start > guess:
      block = os.pread(self._file.fileno(), start + size, offset)
    data = block[start : start + size]
    try:
      data = zlib.decompress(data, -15) if method else data
    except zlib.error as error:
      raise OSError(f"its entry in the .zip is damaged ({error})") from error
    if zlib.crc32(data) != crc:
      raise OSError("its entry in the .zip fails the checksum")
    return data

  def stamp(self, path: str) -> tuple[int, int]:
    """Size in bytes and CRC-32."""
    return self._entries[path][3], self._entries[path][4]


def _visible(entry: zipfile.ZipInfo) -> bool:
  """Whether an entry is a file that is not hidden."""
  parts = entry.filename.split("/")
  hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
  return not (entry.is_dir() or hidden)


def _check_entry(path: str, entry: zipfile.ZipInfo) -> None:
  """Raises ValueError for an entry that `ZipTree.read` cannot read."""
  if entry.flag_bits & 1:
    raise ValueError(f"{entry.filename!r} in {path!r} is encrypted.")
  if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise ValueError(
      f"{entry.filename!r} in {path!r} is compressed by method"
      f" {entry.compress_type}; only stored and deflated entries can be read"
      " in place: unpack it and pass the folder."
    )
