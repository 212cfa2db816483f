"""Files in a local directory: written in place, synced, locked by the kernel.

The kernel's locks end with the process that holds them, so a killed writer or
reader leaves nothing behind that another would have to clear.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Sequence

from visual_memory import direct_files
from visual_memory.store.errors import StoreError, StoreLocked
from visual_memory.store.storage import parallel
from visual_memory.store.storage.place import Overwrite

_LOCK = "lock"
_GATE = "gate"
_OWNER_BYTES = 512
_POLL_S = 0.005
_FLUSHED = 1 << 20
"""Files of this size go to the disk while the next ones are made."""
_sync = getattr(os, "fdatasync", os.fsync)


class LocalFiles:
  """The files under one directory."""

  def __init__(self, root: str):
    """The files of `root`, which need not exist yet."""
    self.root = os.path.abspath(root)
    self._unsynced_folders: set[str] = set()
    self._flushed: set[str] = set()  # Files without changes to sync.

  def __reduce__(self):
    """The directory."""
    return LocalFiles, (self.root,)

  def __repr__(self) -> str:
    """The directory."""
    return self.root

  def read(self, key: str, *, start: int = 0, length: int = -1) -> bytes:
    """Bytes of a file; shorter where it ends early, b"" if it is absent."""
    try:
      with _opened(self._path(key), os.O_RDONLY) as file:
        left = max(0, os.fstat(file).st_size - start)
        left = left if length < 0 else min(left, length)
        parts = []
        while left:  # One call reads 2 GiB at most.
          parts.append(os.pread(file, left, start))
          if not parts[-1]:
            break
          start, left = start + len(parts[-1]), left - len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)
    except FileNotFoundError:
      return b""

  def read_into(self, key: str, buffer: memoryview) -> int:
    """Fills a buffer with a file's first bytes; how many there were."""
    try:
      with _opened(self._path(key), os.O_RDONLY) as file:
        done = 0
        while done < len(buffer):
          count = os.preadv(file, [buffer[done:]], done)
          if not count:
            break
          done += count
        return done
    except FileNotFoundError:
      return 0

  def size(self, key: str) -> int:
    """Bytes in a file, 0 if it is absent."""
    try:
      return os.stat(self._path(key)).st_size
    except FileNotFoundError:
      return 0

  def keys(self, folder: str) -> list[str]:
    """The files directly in a folder ("" is the store itself)."""
    try:
      with os.scandir(self._path(folder)) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    except FileNotFoundError:
      return []
    return [f"{folder}/{name}" if folder else name for name in names]

  def is_empty(self) -> bool:
    """Whether there is nothing at all in this place."""
    return not os.path.exists(self.root) or not os.listdir(self.root)

  def create(
    self, key: str, data: bytes | memoryview, *, wait: bool = True
  ) -> None:
    """Writes a whole file; durable now, or (wait=False) after `sync`."""
    path = self._path(key)
    folder = os.path.dirname(path)
    if folder not in self._unsynced_folders:
      os.makedirs(folder, exist_ok=True)
    large = len(data) >= _FLUSHED
    flush = wait or large
    if not (large and direct_files.write(path, data)):
      with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
        _write(file, data, 0)
        if flush:
          os.fsync(file)
    if flush and not wait:
      self._flushed.add(key)
    if wait:
      _sync_folder(folder)
    else:
      self._unsynced_folders.add(folder)

  def overwrite(self, overwrite: Overwrite) -> None:
    """Overwrites ranges of a file; durable once `sync` says so."""
    path = self._path(overwrite.key)
    self._flushed.discard(overwrite.key)
    new = not os.path.exists(path)
    with _opened(path, os.O_WRONLY | os.O_CREAT) as file:
      for offset, data in overwrite.ranges():
        _write(file, data, offset)
    if new:
      _sync_folder(os.path.dirname(path))

  def sync(self, keys: Sequence[str]) -> None:
    """Returns when all overwrites of these files are durable.

    Many are synced at once, which costs a disk little more than one.
    """
    parallel.run(self._sync_file, [k for k in keys if k not in self._flushed])
    folders = {folder for key in keys if (folder := self._new_in(key))}
    self._unsynced_folders -= folders
    parallel.run(_sync_folder, folders)
    self._flushed -= set(keys)

  def reserve(self, key: str, size: int) -> None:
    """Grows a file to a size with zero bytes, so that overwrites find space."""
    path = self._path(key)
    new = not os.path.exists(path)
    with _opened(path, os.O_WRONLY | os.O_CREAT) as file:
      old = os.fstat(file).st_size
      if old >= size:
        return
      try:
        if hasattr(os, "posix_fallocate"):
          os.posix_fallocate(file, old, size - old)
        else:
          _write(file, bytes(size - old), old)
      except OSError:
        os.ftruncate(file, old)
        raise
      os.fsync(file)
    if new:
      _sync_folder(os.path.dirname(path))

  def erase(self, key: str) -> None:
    """Overwrites a file with zeros and deletes it; absent files are fine."""
    path = self._path(key)
    try:
      with _opened(path, os.O_WRONLY) as file:
        _write(file, bytes(os.fstat(file).st_size), 0)
        _sync(file)
      os.unlink(path)
    except FileNotFoundError:
      return
    _sync_folder(os.path.dirname(path))

  @contextlib.contextmanager
  def writer_lock(self, timeout_s: float):
    """Held by the one writer."""
    file = self._open_lock()
    try:
      self._wait_for(file, timeout_s)
      while not os.path.samestat(os.fstat(file), os.stat(self._path(_LOCK))):
        os.close(file)  # Another store took this one's place: see rebuild.py.
        file = self._open_lock()
        self._wait_for(file, timeout_s)
      owner = {"pid": os.getpid(), "host": socket.gethostname()}
      os.pwrite(file, json.dumps(owner).encode().ljust(_OWNER_BYTES), 0)
      yield
    finally:
      os.close(file)  # Ends the lock.

  def _open_lock(self) -> int:
    """The lock file, opened."""
    try:
      return os.open(self._path(_LOCK), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
      raise StoreError(
        f"The store {self.root} cannot be edited: {error.strerror}. Give this"
        " user write access to the directory, or copy it elsewhere."
      ) from error

  def _wait_for(self, file: int, timeout_s: float) -> None:
    """Locks the lock file, or raises StoreLocked naming who has it."""
    deadline = time.monotonic() + timeout_s
    while True:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
      except BlockingIOError:
        if time.monotonic() >= deadline:
          break
      time.sleep(_POLL_S)
    try:
      owner = json.loads(os.pread(file, _OWNER_BYTES, 0))
      by = f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError):
      by = "another process"
    raise StoreLocked(
      f"The store {self.root} is being edited by {by} (waited"
      f" {timeout_s:g} s): let that edit finish, or end that process."
    )

  @contextlib.contextmanager
  def gate(self, *, shared: bool):
    """Held alone while files change, shared by readers that must not see it."""
    try:
      file = os.open(self._path(_GATE), os.O_RDONLY)
    except FileNotFoundError:
      if shared:  # Nothing was ever written here.
        yield
        return
      file = os.open(self._path(_GATE), os.O_RDWR | os.O_CREAT, 0o644)
    try:
      fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
      yield
    finally:
      os.close(file)

  def _new_in(self, key: str) -> str | None:
    """The folder of a file, if it has entries that may not be durable."""
    folder = os.path.dirname(self._path(key))
    return folder if folder in self._unsynced_folders else None

  def _sync_file(self, key: str) -> None:
    with _opened(self._path(key), os.O_WRONLY) as file:
      _sync(file)

  def _path(self, key: str) -> str:
    return os.path.join(self.root, *key.split("/"))


@contextlib.contextmanager
def _opened(path: str, flags: int):
  """A file descriptor that is closed at the end."""
  file = os.open(path, flags, 0o644)
  try:
    yield file
  finally:
    os.close(file)


def _write(file: int, data: bytes | memoryview, offset: int) -> None:
  """Writes all of data; a single call may write less."""
  view = memoryview(data)
  while view:
    written = os.pwrite(file, view, offset)
    view, offset = view[written:], offset + written


def _sync_folder(path: str) -> None:
  """Makes the entries of a directory durable."""
  with _opened(path, os.O_RDONLY) as folder:
    os.fsync(folder)
