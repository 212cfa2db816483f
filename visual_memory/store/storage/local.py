"""Files in a local directory: written in place, synced, locked by the kernel.

The kernel's locks end with the process that holds them, so a killed writer or
reader leaves nothing behind that another would have to clear.
"""

import contextlib
import fcntl
import functools
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator, Sequence

from visual_memory import direct_files, parallel
from visual_memory.store.errors import StoreError, StoreLocked
from visual_memory.store.storage.below import Below, split
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
    self.root = os.path.realpath(root)
    self._below = Below(self.root)
    self._lock: int | None = None
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
      with self._below.opened(key, os.O_RDONLY) as file:
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
      with self._below.opened(key, os.O_RDONLY) as file:
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
    found = self._below.stat(key)
    return 0 if found is None else found.st_size

  def keys(self, folder: str) -> list[str]:
    """The files directly in a folder ("" is the store itself)."""
    found = self._below.entries(folder)
    names = sorted(name for name, kind in found.items() if kind == "file")
    return [f"{folder}/{name}" if folder else name for name in names]

  def every_key(self) -> list[str]:
    """All there is: files, links, and folders (their names end in a slash)."""
    return sorted(_walked(self._below, ""))

  def is_empty(self) -> bool:
    """Whether there is nothing at all in this place."""
    return not self._below.entries("")

  def create(
    self, key: str, data: bytes | memoryview, *, wait: bool = True
  ) -> None:
    """Writes a whole file; durable now, or (wait=False) after `sync`."""
    folder, _ = split(key)
    if folder not in self._unsynced_folders:
      self._below.make_folder(folder)
    large = len(data) >= _FLUSHED
    flush = wait or large
    if not (large and self._create_past_cache(key, data)):
      flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
      with self._below.opened(key, flags) as file:
        _write(file, data, 0)
        if flush:
          os.fsync(file)
    if flush and not wait:
      self._flushed.add(key)
    if wait:
      self._below.sync_folder(folder)
    else:
      self._unsynced_folders.add(folder)

  def _create_past_cache(self, key: str, data: bytes | memoryview) -> bool:
    def opener(path: str, flags: int) -> int:
      del path
      return self._below.open(key, flags)

    return direct_files.write(self._path(key), data, opener=opener)

  def overwrite(self, overwrite: Overwrite) -> None:
    """Overwrites ranges of a file; durable once `sync` says so."""
    self._flushed.discard(overwrite.key)
    new = self._below.stat(overwrite.key) is None
    if new:
      self._below.make_folder(split(overwrite.key)[0])
    flags = os.O_WRONLY | os.O_CREAT
    with self._below.opened(overwrite.key, flags) as file:
      for offset, data in overwrite.ranges():
        _write(file, data, offset)
    if new:
      self._below.sync_folder(split(overwrite.key)[0])

  def sync(self, keys: Sequence[str]) -> None:
    """Returns when all overwrites of these files are durable.

    Many are synced at once, which costs a disk little more than one.
    """
    parallel.run(self._sync_file, [k for k in keys if k not in self._flushed])
    folders = {folder for key in keys if (folder := self._new_in(key))}
    self._unsynced_folders -= folders
    parallel.run(self._below.sync_folder, folders)
    self._flushed -= set(keys)

  def reserve(self, key: str, size: int) -> None:
    """Grows a file to a size with zero bytes, so that overwrites find space."""
    new = self._below.stat(key) is None
    with self._below.opened(key, os.O_WRONLY | os.O_CREAT) as file:
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
      self._below.sync_folder(split(key)[0])

  def erase(self, key: str) -> None:
    """Overwrites a file with zeros and deletes it; absent files are fine."""
    try:
      with self._below.opened(key, os.O_WRONLY) as file:
        _write(file, bytes(os.fstat(file).st_size), 0)
        _sync(file)
      self._below.unlink(key)
    except FileNotFoundError:
      return
    self._below.sync_folder(split(key)[0])

  @contextlib.contextmanager
  def writer_lock(self, timeout_s: float):
    """Held by the one writer."""
    file = self._open_lock()
    try:
      self._wait_for(file, timeout_s)
      while not self._is_lock(file):
        os.close(file)  # Another store took this one's place: see rebuild.py.
        file = self._open_lock()
        self._wait_for(file, timeout_s)
      owner = {"pid": os.getpid(), "host": socket.gethostname()}
      os.pwrite(file, json.dumps(owner).encode().ljust(_OWNER_BYTES), 0)
      self._lock = file
      yield
    finally:
      self._lock = None
      os.close(file)  # Ends the lock.

  def confirm_lock(self) -> None:
    """Raises StoreLocked if the lock is not held any more."""
    if self._lock is not None and not self._is_lock(self._lock):
      raise StoreLocked(
        f"The file {self._path(_LOCK)} was deleted or replaced during an edit,"
        " so that two could go on at once: this one was given up before it"
        " changed anything. Make it again."
      )

  def _is_lock(self, file: int) -> bool:
    """Whether this descriptor is of the lock file that is there now."""
    found = self._below.stat(_LOCK)
    return found is not None and os.path.samestat(os.fstat(file), found)

  def _open_lock(self) -> int:
    """The lock file, opened."""
    try:
      return self._below.open(_LOCK, os.O_RDWR | os.O_CREAT)
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
      except OSError as error:
        raise self._no_locks(error) from error
      time.sleep(_POLL_S)
    try:
      owner = json.loads(os.pread(file, _OWNER_BYTES, 0))
      by = f"process {int(owner['pid'])} on {str(owner['host'])[:100]}"
    except (ValueError, KeyError, TypeError):
      by = "another process"
    raise StoreLocked(
      f"The store {self.root} is being edited by {by} (waited"
      f" {timeout_s:g} s): let that edit finish, or end that process."
    )

  @contextlib.contextmanager
  def gate(self, *, shared: bool):
    """Held alone while files change, shared by readers that must not see it.

    Where the file system has no locks, readers go on without (what an edit
    changes under them shows in checksums), and writers do not.
    """
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    try:
      file = self._below.open(_GATE, flags)
    except FileNotFoundError:
      if not shared:
        raise
      yield  # Nothing was ever written here.
      return
    try:
      fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except OSError as error:
      os.close(file)
      if not shared:
        raise self._no_locks(error) from error
      _warn_of_no_locks(self.root)
      yield
      return
    try:
      yield
    finally:
      os.close(file)

  def _no_locks(self, error: OSError) -> StoreError:
    return StoreError(
      f"The store {self.root} cannot be edited there: its file system has no"
      f" locks ({error.strerror}). Edit it on a local disk, or mount the file"
      " system with locks (NFS: local_lock=flock, where one machine alone"
      " edits)."
    )

  def _new_in(self, key: str) -> str | None:
    """The folder of a file, if it has entries that may not be durable."""
    folder = split(key)[0]
    return folder if folder in self._unsynced_folders else None

  def _sync_file(self, key: str) -> None:
    with self._below.opened(key, os.O_WRONLY) as file:
      _sync(file)

  def _path(self, key: str) -> str:
    return os.path.join(self.root, key)


def _walked(below: Below, folder: str) -> Iterator[str]:
  """All in a folder; what is two folders deep is named and not entered."""
  for name, kind in below.entries(folder).items():
    key = f"{folder}/{name}" if folder else name
    if kind != "folder":
      yield key
      continue
    yield f"{key}/"
    if not folder:
      yield from _walked(below, name)


@functools.cache
def _warn_of_no_locks(root: str) -> None:
  """Says once that a store is read without locks."""
  warnings.warn(
    f"The file system of the store {root} has no locks: it is read without.",
    stacklevel=2,
  )


def _write(file: int, data: bytes | memoryview, offset: int) -> None:
  """Writes all of data; a single call may write less."""
  view = memoryview(data)
  while view:
    written = os.pwrite(file, view, offset)
    view, offset = view[written:], offset + written
