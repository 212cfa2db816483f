"""Files in a bucket (gs://, s3://, memory://, file://), through TensorStore.

Objects are replaced whole: an overwrite reads the object, changes it and
writes it back, and the write is durable when it returns. The writer's lock is
an object with a lease that only one writer can create. Readers cannot hold a
writer back; they notice that the journal is there or that checksums disagree,
and read again.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Sequence

import tensorstore

from visual_memory.store.errors import StoreLocked
from visual_memory.store.storage.place import Overwrite

_LOCK = "lock"
_LEASE_S = 600.0
_POLL_S = 0.2
_PATIENCE_S = 10.0


class RemoteFiles:
  """The objects under one URL."""

  def __init__(self, url: str, *, context: tensorstore.Context | None = None):
    """The objects whose names begin with the URL.

    Args:
      url: any URL that TensorStore knows.
      context: TensorStore's resources (credentials, concurrency, and the
        content of memory:// stores); one for the whole process by default.
    """
    self.root = url.rstrip("/") + "/"
    self._objects = tensorstore.KvStore.open(
      self.root, context=context or _SHARED
    ).result()

  def __reduce__(self):
    """The URL: credentials and connections are each process's own."""
    return RemoteFiles, (self.root,)

  def __repr__(self) -> str:
    """The URL."""
    return self.root

  def read(self, key: str, *, start: int = 0, length: int = -1) -> bytes:
    """Bytes of an object; shorter where it ends early, b"" if it is absent."""
    data = self._objects.read(key).result().value
    return data[start:] if length < 0 else data[start : start + length]

  def read_into(self, key: str, buffer: memoryview) -> int:
    """Fills a buffer with an object's first bytes; how many there were."""
    data = self.read(key, length=len(buffer))
    buffer[: len(data)] = data
    return len(data)

  def size(self, key: str) -> int:
    """Bytes in an object, 0 if it is absent."""
    return len(self.read(key))

  def keys(self, folder: str) -> list[str]:
    """The objects directly in a folder ("" is the store itself)."""
    prefix = f"{folder}/" if folder else ""
    every = tensorstore.KvStore.KeyRange(prefix, prefix + "\x7f")
    names = [key.decode() for key in self._objects.list(every).result()]
    return sorted(n for n in names if "/" not in n[len(prefix) :])

  def is_empty(self) -> bool:
    """Whether there is nothing at all in this place."""
    return not self._objects.list().result()

  def create(
    self, key: str, data: bytes | memoryview, *, wait: bool = True
  ) -> None:
    """Writes a whole object, durably; whatever was there is gone."""
    del wait
    self._objects.write(key, bytes(data)).result()

  def overwrite(self, overwrite: Overwrite) -> None:
    """Overwrites ranges of an object, durably."""
    data = bytearray(self.read(overwrite.key))
    data.extend(bytes(max(0, overwrite.end - len(data))))
    for offset, new in overwrite.ranges():
      data[offset : offset + len(new)] = new
    self.create(overwrite.key, bytes(data))

  def sync(self, keys: Sequence[str]) -> None:
    """Does nothing: every write is durable when it returns."""

  def reserve(self, key: str, size: int) -> None:
    """Does nothing: an object grows when it is replaced."""

  def erase(self, key: str) -> None:
    """Deletes an object; absent ones are fine."""
    self._objects.write(key, None).result()

  @contextlib.contextmanager
  def writer_lock(self, timeout_s: float):
    """Held by the one writer, for one lease at most."""
    generation = self._take_lock(timeout_s)
    try:
      yield
    finally:
      self._objects.write(_LOCK, None, if_equal=generation).result()

  def _take_lock(self, timeout_s: float) -> bytes:
    """Creates the lock object; its generation."""
    deadline = time.monotonic() + timeout_s
    while True:
      found = self._objects.read(_LOCK).result()
      if found.state == "missing" or _is_stale(found.value):
        owner = {
          "pid": os.getpid(),
          "host": socket.gethostname(),
          "until": time.time() + _LEASE_S,
        }
        stamp = self._objects.write(
          _LOCK, json.dumps(owner), if_equal=found.stamp.generation
        ).result()
        if stamp.generation:
          return stamp.generation
      if time.monotonic() >= deadline:
        raise StoreLocked(
          f"The store {self.root} is being edited by"
          f" {found.value.decode() or 'another process'} (waited"
          f" {timeout_s:g} s): let that edit finish; the lock of a process"
          " that died ends at its `until` (seconds since 1970)."
        )
      time.sleep(_POLL_S)

  @contextlib.contextmanager
  def gate(self, *, shared: bool):
    """Waits, for a while, until no edit is going on; holds nobody back.

    A reader that is overtaken by an edit finds out by its checksums.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while shared and self.read("journal", length=1).strip(b"\0"):
      if time.monotonic() > deadline:
        break  # Its writer is dead; the reader will find the journal.
      time.sleep(_POLL_S)
    yield


_SHARED = tensorstore.Context()


def _is_stale(lock: bytes) -> bool:
  """Whether a lock's lease is over, or its process on this host is gone."""
  try:
    owner = json.loads(lock)
    if owner["until"] < time.time():
      return True
    if owner["host"] == socket.gethostname():
      os.kill(owner["pid"], 0)  # Signal 0 only asks whether it exists.
    return False
  except ProcessLookupError:
    return True
  except PermissionError:
    return False
  except (ValueError, KeyError):
    return True
