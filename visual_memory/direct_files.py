"""Large files written and read past the system's cache of files (O_DIRECT).

What is written or read once would fill that cache with pages that nobody asks
for again, and where a virtual machine has to get them from its host, that can
take several times as long as the disk does.

The arrays that such reads fill are large too: `empty` uses their memory again.
New pages are dear: the system clears them, and in a virtual machine may have
to get them from its host first. What reads block after block needs the same
sizes again and again.
"""

import collections
import contextlib
import ctypes
import errno
import math
import mmap
import os
import weakref
from collections.abc import Callable

import numpy as np

_FLAG = getattr(os, "O_DIRECT", 0)  # Linux has it.
_BLOCK = 4096
"""What offsets, lengths and addresses must be multiples of."""
_BUFFER_BYTES = 4 << 20
_READ_BYTES = 64 << 20
_REFUSED = (errno.EINVAL, errno.EOPNOTSUPP)


def write(
  path: str,
  data: bytes | memoryview,
  *,
  opener: Callable[[str, int], int] | None = None,
) -> bool:
  """Writes a new file, durably but for its folder's entry.

  Args:
    path: the file; whatever was there is gone.
    data: its bytes, copied once through an aligned buffer.
    opener: opens the path with some flags, as in `open`; by default os.open.

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
    file = opener(path, flags) if opener else os.open(path, flags, 0o644)
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
  aligned = empty((_BUFFER_BYTES,), np.uint8)
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
    buffer = empty((size,), np.uint8)
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


_ROUND_TO = 2 << 20  # A huge page; sizes that nearly agree share memory.
_MOST_FREE = 4
"""Buffers of a size that wait to be used again."""

_free: dict[int, collections.deque] = collections.defaultdict(
  lambda: collections.deque(maxlen=_MOST_FREE)
)


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
  """An uninitialized array that begins at a page.

  Its memory is free again once nobody refers to the array or to a view of it;
  JAX does, while an array on a CPU device shares its memory.
  """
  dtype = np.dtype(dtype)
  count = math.prod(shape) * dtype.itemsize
  size = max(1, -(-count // _ROUND_TO)) * _ROUND_TO
  try:
    buffer = _free[size].pop()
  except IndexError:
    _forget()  # Free ones have other sizes: they were for something else.
    buffer = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
      with contextlib.suppress(OSError):
        buffer.madvise(mmap.MADV_HUGEPAGE)
  whole = np.frombuffer(buffer, np.uint8)
  weakref.finalize(whole, _free[size].append, buffer)
  return whole[:count].view(dtype).reshape(shape)


def release() -> None:
  """Gives the memory that nobody uses back to the system."""
  _forget()
  # What threads have freed in small pieces, the C library keeps for each.
  with contextlib.suppress(AttributeError, OSError, TypeError):
    ctypes.CDLL(None).malloc_trim(0)


def _forget() -> None:
  """Lets go of the buffers that wait to be used again."""
  for waiting in list(_free.values()):
    waiting.clear()
