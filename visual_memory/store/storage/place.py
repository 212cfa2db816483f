"""What the store needs of a place that keeps files.

A key is a path relative to the store, such as "labels/c.3". Two places exist:
local directories (local.py) and buckets behind a URL (remote.py).
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

_LARGEST = 1 << 48
"""No file, offset or sum of them is as large."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overwrite:
  """New bytes for some ranges of one file.

  Attributes:
    key: the file.
    offsets: int64 first byte of each range, [R].
    lengths: int64 bytes in each range, [R].
    data: the ranges' new bytes one after the other; None erases them (zeros).
  """

  key: str
  offsets: np.ndarray
  lengths: np.ndarray
  data: bytes | None

  @classmethod
  def whole(cls, key: str, data: bytes, *, offset: int = 0) -> "Overwrite":
    """An overwrite of a single range."""
    return cls(
      key=key,
      offsets=np.array([offset], np.int64),
      lengths=np.array([len(data)], np.int64),
      data=data,
    )

  @property
  def end(self) -> int:
    """The size that the file must have at least."""
    return int((self.offsets + self.lengths).max(initial=0))

  @property
  def is_whole(self) -> bool:
    """Whether it is a single range from the first byte on."""
    return len(self.offsets) == 1 and self.offsets[0] == 0 and bool(self.data)

  @property
  def is_sound(self) -> bool:
    """Whether the ranges could be those of a file, and the data is theirs."""
    parts = np.concatenate([self.offsets, self.lengths])
    if len(parts) and not 0 <= parts.min() <= parts.max() < _LARGEST:
      return False
    return self.data is None or len(self.data) == int(self.lengths.sum())

  def ranges(self):
    """Yields (offset, new bytes) of every range."""
    start = 0
    pairs = zip(self.offsets.tolist(), self.lengths.tolist(), strict=True)
    for offset, length in pairs:
      if self.data is None:
        yield offset, bytes(length)
      else:
        yield offset, self.data[start : start + length]
        start += length


@runtime_checkable
class Files(Protocol):
  """A place that keeps files; all methods are safe to call from threads."""

  def read(self, key: str, *, start: int = 0, length: int = -1) -> bytes:
    """Bytes of a file; shorter where it ends early, b"" if it is absent."""

  def read_into(self, key: str, buffer: memoryview) -> int:
    """Fills a buffer with a file's first bytes; how many there were."""

  def size(self, key: str) -> int:
    """Bytes in a file, 0 if it is absent."""

  def keys(self, folder: str) -> list[str]:
    """The files directly in a folder ("" is the store itself)."""

  def every_key(self) -> list[str]:
    """All that there is in this place; names of folders end in a slash."""

  def is_empty(self) -> bool:
    """Whether there is nothing at all in this place."""

  def create(
    self, key: str, data: bytes | memoryview, *, wait: bool = True
  ) -> None:
    """Writes a whole file; whatever was there is gone.

    It is durable when this returns, or, with wait=False, once `sync` says so.
    """

  def overwrite(self, overwrite: Overwrite) -> None:
    """Overwrites ranges of a file; durable once `sync` says so."""

  def sync(self, keys: Sequence[str]) -> None:
    """Returns when all overwrites of these files are durable."""

  def reserve(self, key: str, size: int) -> None:
    """Grows a file to a size with zero bytes, so that overwrites find space."""

  def erase(self, key: str) -> None:
    """Overwrites a file with zeros and deletes it; absent files are fine."""

  def writer_lock(
    self, timeout_s: float
  ) -> contextlib.AbstractContextManager[None]:
    """Held by the one writer.

    Raises:
      StoreLocked: names who holds it, if it is not free within timeout_s.
    """

  def confirm_lock(self) -> None:
    """Raises StoreLocked if the lock was lost since it was taken."""

  def gate(self, *, shared: bool) -> contextlib.AbstractContextManager[None]:
    """Held alone while files change, shared by readers that must not see it."""
