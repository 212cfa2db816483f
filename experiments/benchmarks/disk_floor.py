"""What the disk itself can do: the floor under every store that is timed."""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable

import numpy as np

_BLOCK = 4 << 20


def write(path: pathlib.Path, data: memoryview) -> None:
  """Writes bytes in order into a new file, durably."""
  with contextlib.suppress(FileNotFoundError):
    path.unlink()
  with open(path, "wb", buffering=0) as file:
    for start in range(0, len(data), _BLOCK):
      file.write(data[start : start + _BLOCK])
    os.fsync(file.fileno())


def read(path: pathlib.Path) -> np.ndarray:
  """Reads a file of float32 in order, into memory that is new like a load's."""
  return np.fromfile(path, np.float32)


def sync_rows(path: pathlib.Path, row: bytes, count: int) -> list[float]:
  """Seconds of each of some writes of one row that are waited for."""
  with open(path, "r+b", buffering=0) as file:

    def sync_row(number: int) -> None:
      os.pwrite(file.fileno(), row, number * 4096)
      os.fdatasync(file.fileno())

    return [timed(lambda n=n: sync_row(n)) for n in range(count)]


def drop_cache(path: pathlib.Path) -> None:
  """Asks the system to forget what it has cached of a file or a folder."""
  for found in [path, *path.rglob("*")]:
    if found.is_file():
      with open(found, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(call: Callable) -> float:
  """Seconds that a call takes."""
  start = time.perf_counter()
  call()
  return time.perf_counter() - start


def quantiles(seconds: list[float]) -> dict[str, float]:
  """The median, the 99th percentile and the slowest of some times."""
  p50, p99 = np.quantile(seconds, [0.5, 0.99])
  return {"p50": p50, "p99": p99, "max": max(seconds), "count": len(seconds)}
