"""Whole files written past the system's cache of files (O_DIRECT).

A large creation would fill that cache with pages that nobody reads again, and
where a virtual machine has to ask its host for them, filling them can take
several times as long as the disk does.
"""

import contextlib
import errno
import mmap
import os

import numpy as np

_FLAG = getattr(os, "O_DIRECT", 0)  # Linux has it.
_BLOCK = 4096
"""What offsets, lengths and addresses must be multiples of."""
_BUFFER_BYTES = 4 << 20
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
  with contextlib.closing(mmap.mmap(-1, _BUFFER_BYTES)) as buffer:
    aligned = np.frombuffer(buffer, np.uint8)
    for start in range(0, len(data), _BUFFER_BYTES):
      part = data[start : start + _BUFFER_BYTES]
      end = -(-len(part) // _BLOCK) * _BLOCK
      aligned[: len(part)] = part
      aligned[len(part) : end] = 0
      done = 0
      while done < end:
        done += os.pwrite(file, aligned[done:end], start + done)
    del aligned  # The buffer cannot be closed while it is seen.
