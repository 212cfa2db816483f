"""The files below one directory, opened without following any link.

A store may come from a stranger. Whatever stands in it or is named in it, what
is opened here is a plain file, directly in the directory or in one folder of
it, and reached from the directory's own descriptor.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from visual_memory.store.errors import StoreDamaged, StoreError

_ALONE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""No link is followed, and nothing is waited for (as a named pipe would)."""
_NOT_PLAIN = (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR)


def split(key: str) -> tuple[str, str]:
  """The folder ("" is the directory itself) and the name of a key.

  Raises:
    StoreDamaged: no store has a file of this name.
  """
  folder, _, name = key.rpartition("/")
  for part in (folder, name) if folder or "/" in key else (name,):
    if part in ("", ".", "..") or "/" in part or "\0" in part:
      raise StoreDamaged([f"{key!r} is the name of no file of a store."])
  return folder, name


class Below:
  """One directory, which need not exist yet."""

  def __init__(self, root: str):
    """The directory; links on the way to it are the caller's own."""
    self.root = root

  def open(self, key: str, flags: int) -> int:
    """A descriptor of a plain file.

    Raises:
      FileNotFoundError: it, or its folder, is absent.
      StoreDamaged: it is a link, a device, a pipe or a directory.
    """
    folder, name = split(key)
    with self._explained(key), self.folder(folder) as parent:
      file = os.open(name, flags | _ALONE, 0o644, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(file).st_mode):
      os.close(file)
      raise self._foreign(key)
    return file

  @contextlib.contextmanager
  def opened(self, key: str, flags: int) -> Iterator[int]:
    """The same, closed at the end."""
    file = self.open(key, flags)
    try:
      yield file
    finally:
      os.close(file)

  @contextlib.contextmanager
  def folder(self, name: str = "") -> Iterator[int]:
    """A descriptor of the directory, or of a folder in it."""
    try:
      folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:
      raise StoreError(f"{self.root} is no directory.") from None
    try:
      if name:
        flags = os.O_RDONLY | os.O_DIRECTORY | _ALONE
        with self._explained(name):
          inner = os.open(name, flags, dir_fd=folder)
        os.close(folder)
        folder = inner
      yield folder
    finally:
      os.close(folder)

  def stat(self, key: str) -> os.stat_result | None:
    """What is known of a file (or link), None if it is absent."""
    folder, name = split(key)
    try:
      with self.folder(folder) as parent:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
      return None

  def is_link(self, key: str) -> bool:
    """Whether a link stands for a file or folder."""
    found = self.stat(key)
    return found is not None and stat.S_ISLNK(found.st_mode)

  def entries(self, folder: str) -> dict[str, str]:
    """What is in a folder: each name is a "file", "folder" or "other"."""
    try:
      with self.folder(folder) as opened, os.scandir(opened) as found:
        return {entry.name: _kind(entry) for entry in found}
    except FileNotFoundError:
      return {}

  def make_folder(self, name: str) -> None:
    """Makes the directory and a folder in it durably, where they are absent."""
    if not os.path.isdir(self.root):
      _make_durably(self.root)
    if not name:
      return
    with self.folder() as parent:
      try:
        os.mkdir(name, 0o755, dir_fd=parent)
      except FileExistsError:
        return  # If it is no folder, opening it says so.
      os.fsync(parent)

  def unlink(self, key: str) -> None:
    """Deletes a file."""
    folder, name = split(key)
    with self.folder(folder) as parent:
      os.unlink(name, dir_fd=parent)

  def sync_folder(self, name: str) -> None:
    """Makes the entries of a folder durable."""
    with self.folder(name) as folder:
      os.fsync(folder)

  @contextlib.contextmanager
  def _explained(self, key: str) -> Iterator[None]:
    """Errors in the block name the whole path, or say what is wrong there."""
    try:
      yield
    except OSError as error:
      if error.errno in _NOT_PLAIN:
        raise self._foreign(key) from None
      error.filename = os.path.join(self.root, key)
      raise

  def _foreign(self, key: str) -> StoreDamaged:
    return StoreDamaged([
      f"{key}: is a link, or something else than a plain file or folder. A"
      " store's files are its own: restore it, or delete it."
    ])  # fmt: skip


def _kind(entry: os.DirEntry) -> str:
  if entry.is_file(follow_symlinks=False):
    return "file"
  return "folder" if entry.is_dir(follow_symlinks=False) else "other"


def _make_durably(path: str) -> None:
  """Makes a directory and those above it; their names are durable."""
  above = os.path.dirname(path)
  if not os.path.isdir(above):
    _make_durably(above)
  with contextlib.suppress(FileExistsError):
    os.mkdir(path)
  descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
