"""Files in a bucket (gs://, s3://, memory://, file://), through TensorStore.

Objects are replaced whole: an overwrite reads the object, changes it and
writes it back, and the write is durable when it returns. The writer's lock is
an object with a lease (lease.py). Readers cannot hold a writer back; they
notice that the journal is there or that checksums disagree, and read again.
"""

import contextlib
import time
import urllib.parse
from collections.abc import Sequence

import tensorstore

from visual_memory.store.errors import StoreDamaged
from visual_memory.store.storage import below
from visual_memory.store.storage.lease import Lease
from visual_memory.store.storage.place import Overwrite

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
    parts = urllib.parse.urlsplit(self.root)
    local = urllib.parse.unquote(parts.path) if parts.scheme == "file" else ""
    self._below = below.Below(local) if local else None
    self._lease: Lease | None = None

  def __reduce__(self):
    """The URL: credentials and connections are each process's own."""
    return RemoteFiles, (self.root,)

  def __repr__(self) -> str:
    """The URL."""
    return self.root

  def read(self, key: str, *, start: int = 0, length: int = -1) -> bytes:
    """Bytes of an object; shorter where it ends early, b"" if it is absent."""
    data = self._objects.read(self._name(key)).result().value
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
    names = self._names(prefix)
    return [name for name in names if "/" not in name[len(prefix) :]]

  def every_key(self) -> list[str]:
    """All there is, at any depth."""
    return self._names("")

  def is_empty(self) -> bool:
    """Whether there is nothing at all in this place."""
    return not self._objects.list().result()

  def create(
    self, key: str, data: bytes | memoryview, *, wait: bool = True
  ) -> None:
    """Writes a whole object, durably; whatever was there is gone."""
    del wait
    self._write(key, bytes(data))

  def overwrite(self, overwrite: Overwrite) -> None:
    """Overwrites ranges of an object, durably."""
    data = bytearray(self.read(overwrite.key))
    data.extend(bytes(max(0, overwrite.end - len(data))))
    for offset, new in overwrite.ranges():
      data[offset : offset + len(new)] = new
    self._write(overwrite.key, bytes(data))

  def sync(self, keys: Sequence[str]) -> None:
    """Does nothing: every write is durable when it returns."""

  def reserve(self, key: str, size: int) -> None:
    """Does nothing: an object grows when it is replaced."""

  def erase(self, key: str) -> None:
    """Deletes an object; absent ones are fine."""
    self._write(key, None)

  @contextlib.contextmanager
  def writer_lock(self, timeout_s: float):
    """Held by the one writer, whose lease is renewed until the block ends."""
    with Lease(self._objects, self.root, timeout_s) as lease:
      self._lease = lease
      try:
        yield
      finally:
        self._lease = None

  def confirm_lock(self) -> None:
    """Raises StoreLocked if another writer has the lock."""
    if self._lease is not None:
      self._lease.confirm()

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

  def _write(self, key: str, data: bytes | None) -> None:
    """Replaces or deletes an object, if the lock is not lost meanwhile."""
    if self._lease is not None:
      self._lease.check()
    self._objects.write(self._name(key), data).result()

  def _names(self, prefix: str) -> list[str]:
    """The objects whose names begin so, whatever follows."""
    start = prefix.encode()
    end = start[:-1] + bytes([start[-1] + 1]) if start else b""
    every = tensorstore.KvStore.KeyRange(start, end)
    found = self._objects.list(every).result()
    return sorted(key.decode("utf-8", "surrogateescape") for key in found)

  def _name(self, key: str) -> bytes:
    """An object's name.

    Raises:
      StoreDamaged: no store has such an object, or a link stands for it.
    """
    folder, _ = below.split(key)
    if self._below is not None:
      for part in filter(None, (folder, key)):
        if self._below.is_link(part):
          raise StoreDamaged(
            [f"{part}: is a link. A store's files are its own."]
          )
    return key.encode("utf-8", "surrogateescape")


_SHARED = tensorstore.Context()
