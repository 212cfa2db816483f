"""Large files written and read past the system's cache of files (O_DIRECT).

What is written or read once would fill that cache with pages that nobody asks
for again, and where a virtual machine has to get them from its host, that can
take several times as long as the disk does.
"""

import errno
import os

import numpy as np

from visual_memory.memory.storage import buffers

_FLAG = getattr(os, "O_DIRECT", 0)  # Linux has it.
_BLOCK = 4096
"""What offsets, lengths and addresses must be multiples of."""
_BUFFER_BYTES = 4 << 20
_READ_BYTES = 64 << 20
_REFUSED = (errno.EINVAL, errno.EOPNOTSUPP)


def write(path: str, data: bytes | memoryview) -> bool:
  """Writes a new file, durably but for its folder's entry.

  Args:
    path: the file; whatever was there is gone.
    data: its bytes, copied once through an aligned buffer.

  Returns:
    False if this file system cannot do it (tmpfs, for one, or another
    operating system): nothing of use has been written then.

  Raises:
    OSError: the disk is full or broken.
  """
  if not _FLAG:
    return False
  flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAG
  try:
    file = os.open(path, flags, 0o644)
  except OSError as error:
    if error.errno in _REFUSED:
      return False
    raise
  try:
    _copy(file, np.frombuffer(data, np.uint8))
    os.ftruncate(file, len(data))
    os.fsync(file)
  except OSError as error:
    if error.errno in _REFUSED:
      return False
    raise
  finally:
    os.close(file)
  return True


def _copy(file: int, data: np.ndarray) -> None:
  """The bytes, and zeros up to a whole block."""
  aligned = buffers.empty((_BUFFER_BYTES,), np.uint8)
  for start in range(0, len(data), _BUFFER_BYTES):
    part = data[start : start + _BUFFER_BYTES]
    end = -(-len(part) // _BLOCK) * _BLOCK
    aligned[: len(part)] = part
    aligned[len(part) : end] = 0
    done = 0
    while done < end:
      done += os.pwrite(file, aligned[done:end], start + done)


def read(path: str | os.PathLike, start: int, length: int) -> np.ndarray | None:
  """Bytes of a file, uint8 [length], or None if this cannot be done here.

  Raises:
    OSError: the disk is broken, or the file absent.
    EOFError: the file ends before.
  """
  if not _FLAG or not length:
    return None
  first = start // _BLOCK * _BLOCK
  size = -(-(start + length - first) // _BLOCK) * _BLOCK
  try:
    file = os.open(path, os.O_RDONLY | _FLAG)
  except OSError as error:
    if error.errno in _REFUSED:
      return None
    raise
  try:
    buffer = buffers.empty((size,), np.uint8)
    done = _fill(file, memoryview(buffer), first)
  except OSError as error:
    if error.errno in _REFUSED:
      return None
    raise
  finally:
    os.close(file)
  if done < start + length - first:
    raise EOFError(f"{path} ends at byte {first + done}, before it should.")
  return buffer[start - first :][:length]


def _fill(file: int, view: memoryview, offset: int) -> int:
  """Reads until the view is full or the file ends; how many bytes there were.

  The last read of a file may end within a block: nothing follows it.
  """
  done = 0
  while done < len(view):
    count = os.preadv(file, [view[done : done + _READ_BYTES]], offset + done)
    done += count
    if count % _BLOCK or not count:
      break
  return done
