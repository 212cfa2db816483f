"""Many small operations at once: of files, or over the rows of an array.

They nearly all wait: for a disk, or for the memory. NumPy, zlib and the system
let other threads run meanwhile.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from visual_memory import direct_files

_THREADS = 8
_BACKGROUND_THREADS = 4
_PART_BYTES = 4 << 20
_PART_ROWS = 1 << 16
_COPIED_BYTES = 32 << 20
_REUSED_BYTES = 16 << 20


def run(call: Callable, items: Iterable) -> list:
  """The results of a call for every item, in order.

  A call that itself comes here does its own one by one.
  """
  items = list(items)
  if len(items) < 2 or getattr(_LOCAL, "busy", False):
    return [call(item) for item in items]
  return list(started(call, items))


def started(
  call: Callable, items: Iterable, *, background: bool = False
) -> Iterator:
  """The same, begun at once; iterating waits for the results.

  It ends, also by an exception or by close(), when no call is running any more.

  Args:
    call: of one argument.
    items: its arguments.
    background: for long calls, beside which other operations are to run; they
      have threads of their own.
  """
  threads = _BACKGROUND_THREADS if background else _THREADS
  pool = _pool(os.getpid(), threads)
  results = _results([pool.submit(call, item) for item in items])
  next(results)  # From here on, closing it waits.
  return results


def num_cores() -> int:
  """Cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):  # Not on macOS.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def parts(array: np.ndarray, *, copied: bool = False) -> list[slice]:
  """Slices of a few megabytes that together are all rows of an array.

  Of short rows they are fewer bytes: more is computed for each row. What is
  only copied is cut into larger ones: beyond the size of a processor's cache,
  the C library writes past it, and nothing is read to be overwritten.
  """
  row_bytes = max(1, array.nbytes // max(1, len(array)))
  if copied:
    step = max(1, _COPIED_BYTES // row_bytes)
  else:
    step = max(1, min(_PART_BYTES // row_bytes, _PART_ROWS))
  return [slice(i, i + step) for i in range(0, len(array), step)]


def take(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """values[rows], as quick as the memory is; rows past the end are the last."""
  shape = (len(rows), *values.shape[1:])
  size = values.dtype.itemsize * int(np.prod(shape))
  # New memory is dear; JAX shares what begins at a page, as this one does.
  make = direct_files.empty if size >= _REUSED_BYTES else np.empty
  out = make(shape, values.dtype)

  def copy(part: slice) -> None:
    np.take(values, rows[part], axis=0, out=out[part], mode="clip")

  run(copy, parts(out))
  return out


def _results(pending: list[Future]) -> Iterator:
  """Nothing at first, then the results in order."""
  try:
    yield
    for future in pending:
      yield future.result()
  finally:
    for future in pending:
      future.cancel()
    wait(pending)


@functools.lru_cache(maxsize=2)
def _pool(pid: int, threads: int) -> ThreadPoolExecutor:
  """So many threads of this process; a forked child needs its own."""
  return ThreadPoolExecutor(
    threads,
    thread_name_prefix=f"visual_memory-{pid}",
    initializer=setattr,
    initargs=(_LOCAL, "busy", threads == _THREADS),
  )


_LOCAL = threading.local()
