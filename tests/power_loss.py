"""What a disk may hold after the power fails, from what was asked of it.

  recorder = Recorder(folder)
  with recorder.recording():
    ...                                # everything below the folder is noted
  disk = Disk()
  for event in recorder.events[:n]:
    disk.apply(event)
  files = disk.image(random.Random(0))

A disk keeps what was synced. Of the rest it may hold anything: each block of
512 bytes of a file as it was after any of the writes that were not synced, the
size likewise, and each name in a folder that was not synced as it was before
or after. So writes are lost, reordered and torn, and names get lost with all
that is below them.
"""

import contextlib
import os
import random
import threading

SECTOR = 512

_PATCHED = (
  "open", "close", "pwrite", "ftruncate", "posix_fallocate", "fsync",
  "fdatasync", "unlink", "mkdir", "rename", "replace",
)  # fmt: skip


class Recorder:
  """Notes what is done to the files below a folder, through `os`."""

  def __init__(self, root):
    """Nothing is noted yet."""
    self.root = os.path.realpath(root)
    self.events = []
    self._paths = {}
    self._mutex = threading.RLock()
    self._real = {name: getattr(os, name) for name in _PATCHED}

  @contextlib.contextmanager
  def recording(self):
    """Notes everything in the block; call `note` for marks of one's own."""
    for name in _PATCHED:
      setattr(os, name, getattr(self, f"_{name}"))
    try:
      yield self
    finally:
      for name, real in self._real.items():
        setattr(os, name, real)

  def note(self, *event):
    """Adds a mark to the events."""
    self.events.append(event)

  def _path(self, path, dir_fd=None):
    """The path below the root, or None."""
    if isinstance(path, int):
      return self._paths.get(path)
    path = os.fsdecode(path)
    if dir_fd is not None:
      folder = self._paths.get(dir_fd)
      if folder is None:
        return None
      return f"{folder}/{path}" if folder else path
    whole = os.path.normpath(os.path.join(os.getcwd(), path))
    if whole == self.root:
      return ""
    if not whole.startswith(self.root + os.sep):
      return None
    return whole[len(self.root) + 1 :]

  def _open(self, path, flags, mode=0o777, *, dir_fd=None):
    with self._mutex:
      known = self._path(path, dir_fd)
      exists = known is None or self._exists(known)
      file = self._real["open"](path, flags, mode, dir_fd=dir_fd)
      if known is not None:
        self._paths[file] = known
        if flags & os.O_CREAT and not exists:
          self.note("create", known)
        elif flags & os.O_TRUNC:
          self.note("size", known, 0)
      return file

  def _exists(self, known):
    return os.path.lexists(os.path.join(self.root, known))

  def _close(self, file):
    with self._mutex:
      self._paths.pop(file, None)
      return self._real["close"](file)

  def _pwrite(self, file, data, offset):
    with self._mutex:
      count = self._real["pwrite"](file, data, offset)
      if (path := self._paths.get(file)) is not None:
        written = bytes(memoryview(data).cast("B")[:count])
        self.note("write", path, offset, written)
      return count

  def _ftruncate(self, file, size):
    with self._mutex:
      self._real["ftruncate"](file, size)
      if (path := self._paths.get(file)) is not None:
        self.note("size", path, size)

  def _posix_fallocate(self, file, offset, length):
    with self._mutex:
      self._real["posix_fallocate"](file, offset, length)
      if (path := self._paths.get(file)) is not None:
        self.note("size", path, os.fstat(file).st_size)

  def _fsync(self, file):
    with self._mutex:
      self._real["fsync"](file)
      if (path := self._paths.get(file)) is not None:
        self.note("sync", path)

  def _fdatasync(self, file):
    self._fsync(file)

  def _unlink(self, path, *, dir_fd=None):
    with self._mutex:
      self._real["unlink"](path, dir_fd=dir_fd)
      if (known := self._path(path, dir_fd)) is not None:
        self.note("unlink", known)

  def _mkdir(self, path, mode=0o777, *, dir_fd=None):
    with self._mutex:
      self._real["mkdir"](path, mode, dir_fd=dir_fd)
      if (known := self._path(path, dir_fd)) is not None:
        self.note("mkdir", known)

  def _rename(self, *arguments, **options):
    raise AssertionError("a store's edits rename nothing")

  _replace = _rename


class _File:
  """A file's versions since it was synced."""

  def __init__(self):
    self.versions = [b""]

  def write(self, offset, data):
    last = self.versions[-1].ljust(offset, b"\0")
    self.versions.append(last[:offset] + data + last[offset + len(data) :])

  def resize(self, size):
    self.versions.append(self.versions[-1][:size].ljust(size, b"\0"))

  def sync(self):
    self.versions = self.versions[-1:]

  def image(self, rng):
    """Any version of every block, and of the size."""
    if rng.random() < 0.4:
      return self.versions[rng.choice([0, -1])]
    size = len(rng.choice(self.versions))
    blocks = [
      rng.choice(self.versions)[start : start + SECTOR].ljust(SECTOR, b"\0")
      for start in range(0, size, SECTOR)
    ]
    return b"".join(blocks)[:size]


class _Folder:
  """A folder's names: those that are synced, and what was done since."""

  def __init__(self):
    self.names = {}
    self.durable = {}
    self.since = []

  def set(self, name, value):
    """Makes a name mean something, or (None) nothing."""
    self.names[name] = value
    if value is None:
      del self.names[name]
    self.since.append((name, value))

  def sync(self):
    self.durable, self.since = dict(self.names), []

  def image(self, rng):
    """Each name as after some of the changes to it."""
    names, lost = dict(self.durable), set()
    for name, value in self.since:
      lost |= {name} if rng.random() < 0.5 else set()
      if name not in lost:
        names[name] = value
    return {name: value for name, value in names.items() if value is not None}


class Disk:
  """Follows events; the folder itself is durable."""

  def __init__(self):
    """An empty folder."""
    self._root = _Folder()

  def apply(self, event):
    """Does what an event says; marks are nothing to it."""
    kind, *rest = event
    if kind == "create":
      self._set(rest[0], _File())
    elif kind == "mkdir":
      self._set(rest[0], _Folder())
    elif kind == "unlink":
      self._set(rest[0], None)
    elif kind == "write":
      self._find(rest[0]).write(*rest[1:])
    elif kind == "size":
      self._find(rest[0]).resize(rest[1])
    elif kind == "sync":
      self._find(rest[0]).sync()

  def image(self, rng):
    """What may be on the disk now: paths and bytes (None for a folder)."""
    found = {}
    self._collect(self._root, "", rng, found)
    return found

  def _collect(self, folder, prefix, rng, found):
    for name, value in sorted(folder.image(rng).items()):
      path = prefix + name
      if isinstance(value, _File):
        found[path] = value.image(rng)
      else:
        found[path] = None
        self._collect(value, path + "/", rng, found)

  def _find(self, path):
    place = self._root
    for name in filter(None, path.split("/")):
      place = place.names[name]
    return place

  def _set(self, path, value):
    folder, _, name = path.rpartition("/")
    self._find(folder).set(name, value)


def write_image(image, folder):
  """Writes an image's files into a folder, which is made."""
  os.makedirs(folder)
  for path, data in image.items():
    whole = os.path.join(folder, path)
    if data is None:
      os.mkdir(whole)
    else:
      with open(whole, "wb") as file:
        file.write(data)


def cuts(events, count, seed):
  """Numbers of events after which the power fails: any, and at marks."""
  rng = random.Random(seed)
  return sorted(rng.randrange(len(events) + 1) for _ in range(count))
