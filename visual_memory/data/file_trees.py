"""Files under a root, the same for a directory and for a .zip read in place.

  tree = open_tree("photos.zip")
  tree.paths                  # ["cat/1.jpg", ...]: always valid Unicode
  tree.problems               # [("private", "Permission denied"), ...]
  tree.content("cat/1.jpg")   # (size in bytes, digest)

One part that cannot be read costs the others nothing: it is named in
`problems`. A name that is not UTF-8 is shown with its bytes escaped (caf\\xe9)
and read under its own.
"""

import os
import re
import stat as stat_lib
import zipfile
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from visual_memory.data import contents, zip_tree
from visual_memory.data.contents import Content, Seen

_NO_FILE = "neither a file nor a folder"
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


@runtime_checkable
class FileTree(Protocol):
  """Named files, readable from many threads.

  Attributes:
    paths: sorted posix paths relative to the root.
    problems: (path, reason) of what is there but cannot be read at all.
  """

  paths: list[str]
  problems: list[tuple[str, str]]

  def read(self, path: str) -> bytes:
    """The bytes of one file; OSError if it cannot be had."""
    ...

  def stamp(self, path: str) -> tuple[int, ...]:
    """Size in bytes, and what changes when the content does; reads nothing."""
    ...

  def content(self, path: str) -> Content:
    """See `contents`; OSError if it cannot be had."""
    ...


def open_tree(
  path: str | os.PathLike, *, zip_encoding: str | None = None
) -> FileTree:
  """The files of a directory or of a .zip.

  Args:
    path: the directory or archive.
    zip_encoding: of an archive's names that say no encoding and are not
      UTF-8, such as "cp932"; the standard's cp437 by default.

  Raises:
    FileNotFoundError: there is nothing at path.
    ValueError: path is a file, but not a usable .zip, or the directory itself
      cannot be read.
  """
  path = os.fspath(path)
  if not os.path.exists(path):
    raise FileNotFoundError(f"There is no folder or .zip file at {path!r}.")
  if os.path.isdir(path):
    return DirectoryTree(path)
  return zip_tree.ZipTree(path, encoding=zip_encoding)


def is_tree(path: str) -> bool:
  """Whether a path is a directory or a .zip, be it a damaged one."""
  if os.path.isdir(path):
    return True
  named = os.path.isfile(path) and path.lower().endswith(".zip")
  return named or (os.path.isfile(path) and zipfile.is_zipfile(path))


def real_path(root: str, path: str) -> str:
  """Where a file of a directory is, by the name that its tree shows."""
  at = os.path.join(root, path)
  if os.path.exists(at) or "\\x" not in path:
    return at
  raw = _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), path.encode())
  return os.path.join(root, os.fsdecode(raw))


class DirectoryTree:
  """The files of a directory; hidden files and folders are left out."""

  def __init__(self, root: str, *, only: Sequence[str] | None = None):
    """Lists the directory, following links.

    Args:
      root: the directory.
      only: names of files in it; nothing else is looked at.

    Raises:
      ValueError: the directory itself cannot be read, or one of `only` is a
        pipe or a device.
    """
    self.root = root
    self.problems: list[tuple[str, str]] = []
    self._files: dict[str, tuple[str, os.stat_result]] = {}
    for name in only or ():
      stat = os.stat(os.path.join(root, name))
      if not stat_lib.S_ISREG(stat.st_mode):  # A pipe would wait for ever.
        raise ValueError(f"{name!r} is {_NO_FILE}")
      self._files[unicode_name(name, self._files)] = name, stat
    if only is not None:
      self.paths = sorted(self._files)
      return
    for entry, stat in self._walk(root, above=frozenset()):
      name = os.path.relpath(entry.path, root)
      self._files[unicode_name(name, self._files)] = name, stat
    self.paths = sorted(self._files)
    self.problems.sort()

  def read(self, path: str) -> bytes:
    """The bytes of one file."""
    with open(self._at(path), "rb") as file:
      contents.check_size(os.fstat(file.fileno()).st_size)
      return file.read()

  def stamp(self, path: str) -> tuple[int, ...]:
    """Size in bytes and time of the last change in ns."""
    return contents.stamp(self._files[path][1])

  def content(self, path: str) -> Content:
    """By reading the file."""
    return contents.of_file(self._at(path))

  def settled_content(self, path: str) -> tuple[Content, Seen | None]:
    """The content, and what `seen` says as long as it has that."""
    return contents.settled(self._at(path), lambda: self.content(path))

  def seen(self, path: str) -> Seen:
    """What the directory said of a file when it was listed."""
    return contents.seen(self._files[path][1])

  def _at(self, path: str) -> str:
    """Where a file is; one that came after the listing, under its own name."""
    return os.path.join(self.root, self._files.get(path, (path, None))[0])

  def _walk(
    self, directory: str, *, above: frozenset[tuple[int, int]]
  ) -> Iterator[tuple[os.DirEntry, os.stat_result]]:
    """The files below; a link back to a folder above it is not entered."""
    try:
      stat = os.stat(directory)
      entries = list(os.scandir(directory))
    except OSError as error:
      if not above:
        raise ValueError(
          f"The folder {directory!r} cannot be read: {error.strerror}."
        ) from error
      self._note(directory, error)
      return
    here = (stat.st_dev, stat.st_ino)
    if here in above:
      return
    for entry in entries:
      if entry.name.startswith("."):
        continue
      try:
        if entry.is_dir():
          yield from self._walk(entry.path, above=above | {here})
        elif entry.is_file():
          yield entry, entry.stat()
        elif entry.is_symlink():
          self._note(entry.path, "a link that leads nowhere")
        else:
          self._note(entry.path, _NO_FILE)
      except OSError as error:  # A link to itself, or gone meanwhile.
        self._note(entry.path, error)

  def _note(self, path: str, problem: OSError | str) -> None:
    """Keeps what is wrong with a part of the directory."""
    reason = getattr(problem, "strerror", None) or str(problem)
    name = os.path.relpath(path, self.root)
    self.problems.append((unicode_name(name), reason))


def unicode_name(name: str, taken=()) -> str:
  """A file's name as valid Unicode, with bytes that are none escaped."""
  text = name.replace(os.sep, "/")
  text = os.fsencode(text).decode("utf-8", "backslashreplace")
  while text in taken:  # Somebody has a file with just these backslashes.
    text += "~"
  return text
