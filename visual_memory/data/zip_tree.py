"""A .zip read in place: its names as they were meant, its entries checked.

Archives are written by many programs. A name counts as UTF-8 if its bytes are,
whether the archive says so or not (Info-ZIP and the Finder do not); else it is
in the encoding asked for, or cp437, the standard's. Backslashes are folders
where Windows wrote them, and "./" is dropped. An entry that cannot be read
(encrypted, of an unknown method) is a problem of its own, not of the archive.
"""

import bz2
import os
import struct
import zipfile
import zlib

from visual_memory import files
from visual_memory.data import contents
from visual_memory.data.contents import Content, Seen

LOCAL_HEADER_BYTES = 30  # before the file name (PKWARE APPNOTE 4.3.7)
_LOCAL_HEADER = b"PK\x03\x04"

_ENCRYPTED, _UTF8 = 1, 1 << 11
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field with the name in UTF-8.
_METHODS = {
  zipfile.ZIP_STORED: lambda data, size: data,
  zipfile.ZIP_DEFLATED: lambda data, size: _inflated(data, size),
  zipfile.ZIP_BZIP2: lambda data, size: bz2.BZ2Decompressor().decompress(
    data, size + 1
  ),
}


class ZipTree:
  """The files of a .zip; hidden ones are left out.

  Reads are positioned (`pread`), so that threads share one file without a
  lock; every read is checked against the entry's size and CRC-32.

  Attributes:
    guessed: names that are not UTF-8, read by an encoding nobody stated.
  """

  def __init__(self, path: str, *, encoding: str | None = None):
    """Reads the archive's directory.

    Raises:
      ValueError: not a .zip, or an encoding that is unknown or does not fit.
    """
    self.path = path
    self.problems: list[tuple[str, str]] = []
    self.guessed: list[str] = []
    try:
      with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    except Exception as error:  # A damaged directory breaks its parser anyhow.
      raise ValueError(
        f"{path!r} is neither a folder nor a readable .zip file:"
        f" {files.reason(error)}."
      ) from error
    self._size, self._changed_ns = contents.stamp(os.stat(path))
    self._entries: dict[str, tuple[int, int, int, int, int]] = {}
    for name, entry in self._named(entries, encoding):
      self._add(name, entry)
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
    """The bytes of one file."""
    offset, packed, method, size, crc = self._entry(path)
    # One read covers the local header, whose name and extra field have
    # lengths of their own, in all but the oddest archives.
    guess = LOCAL_HEADER_BYTES + 4 * len(path) + 64
    block = os.pread(self._file.fileno(), guess + packed, offset)
    start = LOCAL_HEADER_BYTES
    start += int.from_bytes(block[26:28], "little")
    start += int.from_bytes(block[28:30], "little")
    if start > guess:
      block = os.pread(self._file.fileno(), start + packed, offset)
    if not block.startswith(_LOCAL_HEADER):
      raise OSError("its entry in the .zip is damaged (no header)")
    data = block[start : start + packed]
    try:
      data = _METHODS[method](data, size)
    except (zlib.error, OSError, EOFError, ValueError) as error:
      raise OSError(f"its entry in the .zip is damaged ({error})") from error
    if len(data) != size or zlib.crc32(data) != crc:
      raise OSError("its entry in the .zip fails the checksum")
    return data

  def stamp(self, path: str) -> tuple[int, ...]:
    """Size in bytes, time of the archive's last change in ns, and CRC-32.

    A CRC-32 alone would not do, see `contents`.
    """
    *_, size, crc = self._entry(path)
    return size, self._changed_ns, crc

  def content(self, path: str) -> Content:
    """By unpacking the file: its CRC-32 would not do, see `contents`."""
    return contents.of_bytes(self.read(path))

  def settled_content(self, path: str) -> tuple[Content, Seen | None]:
    """The content, and what `seen` says as long as it has that."""
    return contents.settled(self.path, lambda: self.content(path))

  def seen(self, path: str) -> Seen:
    """What the directory said of the archive when it was opened."""
    del path
    return contents.seen(os.fstat(self._file.fileno()))

  def _entry(self, path: str) -> tuple[int, int, int, int, int]:
    try:
      return self._entries[path]
    except KeyError:
      raise FileNotFoundError(f"there is no {path!r} in it") from None

  def _named(self, entries, encoding):
    """The files among the entries, each with its name."""
    names = [self._name(entry, encoding) for entry in entries]
    slashes = any("/" in name for name in names)
    for name, entry in zip(names, entries, strict=True):
      if entry.create_system == 0 or not slashes:
        name = name.replace("\\", "/")
      if name.endswith("/"):
        continue
      yield "/".join(p for p in name.split("/") if p not in ("", ".")), entry

  def _name(self, entry: zipfile.ZipInfo, encoding: str | None) -> str:
    """The name of an entry, in whatever encoding it is."""
    if entry.flag_bits & _UTF8:
      return entry.orig_filename.split("\0")[0]
    raw = entry.orig_filename.encode("cp437").split(b"\0")[0]
    try:
      return _unicode_path(entry.extra, raw) or raw.decode("utf-8")
    except UnicodeDecodeError:
      pass
    try:
      name = raw.decode(encoding or "cp437")
    except (UnicodeDecodeError, LookupError) as error:
      raise ValueError(
        f"A name in {self.path!r} is not in {encoding!r}: {error}."
      ) from error
    if encoding is None:
      self.guessed.append(name)
    return name

  def _add(self, name: str, entry: zipfile.ZipInfo) -> None:
    """Keeps an entry, or says what is wrong with it."""
    parts = name.split("/")
    hidden = [p for p in parts if p.startswith(".") and p != ".."]
    if hidden or "__MACOSX" in parts:
      return
    if reason := _unreadable(entry, parts, self._size):
      self.problems.append((name, reason))
      return
    if name in self._entries:
      reason = "the archive has this name twice: the last one counts"
      self.problems.append((name, reason))
    self._entries[name] = (
      entry.header_offset,
      entry.compress_size,
      entry.compress_type,
      entry.file_size,
      entry.CRC,
    )


def _unreadable(
  entry: zipfile.ZipInfo, parts: list[str], size: int
) -> str | None:
  """Why an entry of an archive of this size cannot be read, if it cannot."""
  if not 0 <= entry.header_offset <= size - entry.compress_size:
    return "said to lie outside of the archive"
  if ".." in parts:
    return "its name leads out of the archive"
  if entry.flag_bits & _ENCRYPTED:
    return "encrypted: unpack it with its password"
  if entry.compress_type not in _METHODS:
    return f"compressed by method {entry.compress_type}: unpack it"
  if entry.file_size > contents.MAX_FILE_BYTES:
    return f"of {entry.file_size:,} bytes, more than any picture"
  return None


def _inflated(data: bytes, size: int) -> bytes:
  """What deflated data holds, and no more than one byte beyond its size."""
  return zlib.decompressobj(-15).decompress(data, size + 1)


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
  """The name in an extra field, if it is there and belongs to this name."""
  while len(extra) >= 4:
    kind, length = struct.unpack_from("<HH", extra)
    field, extra = extra[4 : 4 + length], extra[4 + length :]
    if kind == _UNICODE_PATH and len(field) > 5 and field[0] == 1:
      if struct.unpack_from("<I", field, 1)[0] == zlib.crc32(raw):
        return field[5:].decode("utf-8")
  return None
