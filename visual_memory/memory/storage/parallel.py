"""Many small file operations at once: they are nearly all waiting."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

_THREADS = 8


def run(call: Callable, items: Iterable) -> list:
  """The results of a call for every item, in order."""
  items = list(items)
  if len(items) < 2:
    return [call(item) for item in items]
  return list(started(call, items))


def started(call: Callable, items: Iterable) -> Iterator:
  """The same, begun at once; iterating waits for the results."""
  return _pool(os.getpid()).map(call, items)


@functools.lru_cache(maxsize=1)
def _pool(pid: int) -> ThreadPoolExecutor:
  """The threads of this process; a forked child needs its own."""
  return ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{pid}")
