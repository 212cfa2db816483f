"""Files in a bucket (gs://, s3://, memory://, file://), through TensorStore.

Objects are replaced whole: an overwrite reads the object, changes it and
writes it back, and the write is durable when it returns. The writer's lock is
an object with a lease. Readers cannot hold a writer back; they
notice that the journal is there or that checksums disagree, and read again.

The lease is created, renewed and deleted only as the object that this writer
made last (by its generation), so two writers never both have it. A writer that
is held up for longer than its lease has lost the lock, finds that out before it
writes anything more, and says so. Whether a process with some number lives is
asked nowhere: in containers, every host has the same name.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
import urllib.parse
from collections.abc import Sequence

import tensorstore

from visual_memory.store.errors import StoreDamaged, StoreLocked
from visual_memory.store.storage import below
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


KEY = "lock"
LEASE_S = 60.0
_RENEWALS = 4
"""In the time of a lease."""
_CLOCKS_S = 30.0
"""So much may the clocks of two writers differ."""


class Lease:
  """The lock, held from the beginning of a block to its end."""

  def __init__(self, objects: tensorstore.KvStore, root: str, timeout_s: float):
    """Nothing is taken yet.

    Args:
      objects: of the bucket.
      root: its URL, for errors.
      timeout_s: how long to wait for another writer.
    """
    self._objects, self._root, self._timeout_s = objects, root, timeout_s
    self._generation = b""
    self._until = 0.0
    self._lost = False
    self._mutex = threading.Lock()
    self._ended = threading.Event()

  def __enter__(self) -> "Lease":
    """Takes the lock and begins to renew it.

    Raises:
      StoreLocked: another writer has it.
    """
    self._take()
    name = "store-lease"
    self._renewing = threading.Thread(
      target=self._renew, name=name, daemon=True
    )
    self._renewing.start()
    return self

  def __exit__(self, *error) -> None:
    """Gives the lock back, if it is still this writer's."""
    self._ended.set()
    self._renewing.join()
    if not self._lost:
      write = self._objects.write(KEY, None, if_equal=self._generation)
      write.result()

  def check(self) -> None:
    """Raises StoreLocked if the lease is over, as far as is known here."""
    if self._lost or time.time() > self._until:
      self._lost = True
      raise StoreLocked(
        f"The lock of the store {self._root} was lost during an edit: another"
        " writer may have it. What this edit had committed is finished by the"
        " next one; open the store again and look whether it is there."
      )

  def confirm(self) -> None:
    """The same, after asking the bucket."""
    self.check()
    with self._mutex:
      found = self._objects.read(KEY).result().stamp.generation
      self._lost = self._lost or found != self._generation
    self.check()

  def _take(self) -> None:
    deadline = time.monotonic() + self._timeout_s
    while True:
      found = self._objects.read(KEY).result()
      if found.state == "missing" or _is_over(found.value):
        if self._write(found.stamp.generation):
          return
      if time.monotonic() >= deadline:
        raise StoreLocked(
          f"The store {self._root} is being edited by {_owner(found.value)}"
          f" (waited {self._timeout_s:g} s): let that edit finish; the lock of"
          f" a process that died ends {LEASE_S + _CLOCKS_S:g} s after it."
        )
      time.sleep(_POLL_S)

  def _write(self, generation: bytes) -> bool:
    """Replaces the lock object of a generation; whether that went well."""
    until = time.time() + LEASE_S
    owner = {
      "pid": os.getpid(),
      "host": socket.gethostname(),
      "until": until,
      "token": secrets.token_hex(8),
    }
    stamp = self._objects.write(
      KEY, json.dumps(owner).encode(), if_equal=generation
    ).result()
    if not stamp.generation:
      return False
    self._generation, self._until = stamp.generation, until
    return True

  def _renew(self) -> None:
    """Renews the lease again and again, until the block ends."""
    while not self._ended.wait(LEASE_S / _RENEWALS):
      try:
        with self._mutex:
          if time.time() > self._until or not self._write(self._generation):
            self._lost = True
            return
      except Exception:
        continue  # The network, perhaps: `check` sees when time is over.


def _is_over(lock: bytes) -> bool:
  """Whether a lease has ended by any of the writers' clocks."""
  try:
    until = json.loads(lock)["until"]
    return not time.time() <= float(until) + _CLOCKS_S
  except (ValueError, TypeError, KeyError):
    return True


def _owner(lock: bytes) -> str:
  """Who has a lock."""
  try:
    owner = json.loads(lock)
    return f"process {int(owner['pid'])} on {str(owner['host'])[:100]}"
  except (ValueError, TypeError, KeyError):
    return "another process"
