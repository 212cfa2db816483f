"""Many small file operations at once: they are nearly all waiting."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

_THREADS = 8


def run(call: Callable, items: Iterable) -> list:
  """The results of a call for every item, in order."""
  items = list(items)
  if len(items) < 2:
    return [call(item) for item in items]
  return list(started(call, items))


def started(call: Callable, items: Iterable) -> Iterator:
  """The same, begun at once; iterating waits for the results.

  It ends, also by an exception, when no call is running any more.
  """
  pool = _pool(os.getpid())
  return _results([pool.submit(call, item) for item in items])


def _results(pending: list[Future]) -> Iterator:
  """The results, in order."""
  try:
    for future in pending:
      yield future.result()
  finally:
    for future in pending:
      future.cancel()
    wait(pending)


@functools.lru_cache(maxsize=1)
def _pool(pid: int) -> ThreadPoolExecutor:
  """The threads of this process; a forked child needs its own."""
  return ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{pid}")
