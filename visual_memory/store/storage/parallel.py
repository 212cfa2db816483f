"""Many small file operations at once: they are nearly all waiting."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

_THREADS = 8
_BACKGROUND_THREADS = 4


def run(call: Callable, items: Iterable) -> list:
  """The results of a call for every item, in order."""
  items = list(items)
  if len(items) < 2:
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
  return ThreadPoolExecutor(threads, thread_name_prefix=f"store-{pid}")
