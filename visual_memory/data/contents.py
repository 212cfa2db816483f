"""What is in a file, told from all others, and when it need not be read again.

  contents.of_file("cat.png")     # (size in bytes, digest)
  contents.settled("cat.png", lambda: contents.of_file("cat.png"))

A CRC-32 does not tell pictures apart: the chunks of a PNG end with checksums of
their own, after which that of the whole file depends on little but its length.
"""

import hashlib
import os
import time
from collections.abc import Callable

Content = tuple[int, str]
"""Size in bytes, and BLAKE2b of 128 bits in hexadecimal."""

Seen = tuple[int, int, int, int]
"""Inode, size, and times of the last change of content and of file, in ns."""

MAX_FILE_BYTES = 1 << 30
"""A file that unpacks to more than this is no picture."""

_PIECE = 1 << 20
_SETTLED_NS = 2_000_000_000


def of_bytes(data: bytes) -> Content:
  """The content of a file's bytes."""
  return len(data), hashlib.blake2b(data, digest_size=16).hexdigest()


def of_file(path: str | os.PathLike) -> Content:
  """The content of a file, read in pieces; OSError if it cannot be had."""
  size, digest = 0, hashlib.blake2b(digest_size=16)
  with open(path, "rb", buffering=0) as file:
    check_size(os.fstat(file.fileno()).st_size)
    while piece := file.read(_PIECE):
      size += len(piece)
      digest.update(piece)
  return size, digest.hexdigest()


def check_size(size: int) -> None:
  """Raises OSError if a file is larger than any picture."""
  if size > MAX_FILE_BYTES:
    raise OSError(f"of {size:,} bytes, more than any picture")


def stamp(stat: os.stat_result) -> tuple[int, int]:
  """Size in bytes and time of the last change in ns.

  Both outlast a faithful copy, and are enough where nothing is lost if somebody
  sets that time back on purpose.
  """
  return stat.st_size, stat.st_mtime_ns


def seen(stat: os.stat_result) -> Seen:
  """What a directory says of a file."""
  return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def settled(
  path: str | os.PathLike, read: Callable[[], Content]
) -> tuple[Content, Seen | None]:
  """What `read` tells of a file, and what its directory said meanwhile.

  As long as it says the same, so does the file: whoever writes to a file sets
  the time of its change, which no program can set to another one. A file that
  was changed within the last two seconds may change once more in the same tick
  of a coarse clock: of such a file, and of one that changed while it was read,
  it is None.
  """
  before = seen(os.stat(path))
  content = read()
  after = seen(os.stat(path))
  calm = before == after and time.time_ns() - after[3] > _SETTLED_NS
  return content, after if calm else None
