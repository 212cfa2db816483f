"""The pictures that a question is about: files, folders, archives, patterns.

pictures, problems = open_pictures(["new.jpg", "inbox/", "old.zip", "*.png"])
pictures.ids, pictures[0].image
"""

import contextlib
import dataclasses
import functools
import glob
import io
import os
import sys
import threading
import zipfile
from collections.abc import Sequence

from PIL import Image

from visual_memory import types
from visual_memory.collection import origins
from visual_memory.data import file_trees
from visual_memory.data.decoding import (
  UnreadableImage,
  decode_rgb,
  num_pixels,
  pixels_of,
)
from visual_memory.data.file_trees import FileTree
from visual_memory.data.image_source import Unlabeled

STDIN = "-"
_SNIFFED = 64
_LARGE_PIXELS = 1 << 22
"""Pictures of more are unpacked one at a time, however many threads read: one
takes seven bytes a pixel while it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Held:
  """Bytes that came by standard input: a tree of one file."""

  data: bytes

  def read(self, path: str) -> bytes:
    """The bytes."""
    return self.data

  def stamp(self, path: str) -> tuple[int, ...]:
    """Their number, and nothing more."""
    return (len(self.data),)


class Pictures(Unlabeled):
  """Picture files without labels: an ImageSource that reads when asked.

  Attributes:
    ids: how the user would name each file, [N].
  """

  def __init__(self, files: Sequence[tuple[str, FileTree | _Held, str]]):
    """The pictures of these files: (name, tree, path in the tree)."""
    super().__init__([name for name, _, _ in files], fingerprint="asked")
    self._files = files
    self._alone = threading.Lock()

  @functools.cached_property
  def are_large(self) -> bool:
    """Whether the file of most bytes is a photograph of many megapixels."""
    size = lambda file: file[1].stamp(file[2])[0]
    try:
      _, tree, path = max(self._files, key=size)
      return num_pixels(tree.read(path)) > _LARGE_PIXELS
    except (OSError, ValueError):  # Whoever needs it says what is wrong.
      return False

  def __getitem__(self, row) -> types.Example:
    """The picture at this position; UnreadableImage if it is none."""
    image = pixels_of(self.unpacked(row))
    return types.Example(image=image, label=types.UNLABELED, id=self.ids[row])

  def unpacked(self, row) -> Image.Image:
    """Its pixels alone."""
    name, tree, path = self._files[row]
    try:
      data = tree.read(path)
    except OSError as error:
      reason = error.strerror or str(error)
      raise UnreadableImage(name, reason) from error
    large = num_pixels(data) > _LARGE_PIXELS
    with self._alone if large else contextlib.nullcontext():
      return decode_rgb(data, id=name, profile=True)


def open_pictures(
  words: Sequence[str], *, stdin: io.BufferedIOBase | None = None
) -> tuple[Pictures, list[tuple[str, str]], list[tuple[str, str]]]:
  """The pictures that words mean, in their order.

  Args:
    words: image files, folders, .zip files, patterns with * and ?, or "-" for
      standard input: one picture, or the names of some, a line each.
    stdin: what "-" reads; the process's by default.

  Returns:
    The pictures; (word, problem) of words that mean none; and (path, reason)
    of other files in folders and archives.
  """
  files, problems, left_out = [], [], []
  for word in words:
    try:
      found, others = _opened(word, stdin)
      files += found
      left_out += others
    except (ValueError, OSError) as error:
      reason = getattr(error, "strerror", None) or str(error)
      problems.append((word, reason.rstrip(".")))
  return Pictures(files), problems, left_out


def _opened(word: str, stdin) -> tuple[list, list[tuple[str, str]]]:
  """The files of one word, and what lies beside them."""
  if not word:
    raise ValueError("an empty name")
  if word == STDIN:
    return _from_stdin(stdin or sys.stdin.buffer)
  if not os.path.exists(word) and glob.has_magic(word):
    names = sorted(glob.glob(word, recursive=True))
    if not names:
      raise ValueError("no file fits this pattern")
    parts = [_opened(name, stdin) for name in names]
    return sum((p[0] for p in parts), []), sum((p[1] for p in parts), [])
  if os.path.isdir(word) or (os.path.exists(word) and zipfile.is_zipfile(word)):
    tree = file_trees.open_tree(word)
    images, left_out = origins.sort_out(tree)
    if not images:
      found = "; ".join(origins.summary(left_out))
      raise ValueError(f"no images in it{f' ({found})' if found else ''}")
    named = [(os.path.join(word, path), tree, path) for path in images]
    return named, left_out
  root, name = os.path.split(word)
  tree = file_trees.DirectoryTree(root or ".", only=(name,))
  return [(word, tree, tree.paths[0])], []


def _from_stdin(stdin) -> tuple[list, list]:
  """One picture, or the pictures of the names on each line."""
  data = stdin.read()
  lines = data.decode("utf-8", "surrogateescape").splitlines()
  names = [line.strip() for line in lines if line.strip()]
  are_names = b"\0" not in data[:_SNIFFED] and all(map(os.path.exists, names))
  if not are_names or not names:
    return [("(standard input)", _Held(data=data), "")], []
  parts = [_opened(name, None) for name in names if name != STDIN]
  return sum((p[0] for p in parts), []), sum((p[1] for p in parts), [])
