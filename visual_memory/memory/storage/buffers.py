"""Large arrays whose memory is used again, instead of new pages each time.

New pages are dear: the system clears them, and in a virtual machine may have
to get them from its host first. What reads block after block needs the same
sizes again and again.
"""

import collections
import contextlib
import math
import mmap
import weakref

import numpy as np

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
    release()  # Free ones have other sizes: they were for something else.
    buffer = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
      with contextlib.suppress(OSError):
        buffer.madvise(mmap.MADV_HUGEPAGE)
  whole = np.frombuffer(buffer, np.uint8)
  weakref.finalize(whole, _free[size].append, buffer)
  return whole[:count].view(dtype).reshape(shape)


def release() -> None:
  """Gives the memory that nobody uses back to the system."""
  for waiting in list(_free.values()):
    waiting.clear()
