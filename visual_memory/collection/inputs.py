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
from collections.abc import Iterator, Sequence

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
  for word in _expanded(words, stdin):
    if isinstance(word, _Held):
      files.append(("(standard input)", word, ""))
      continue
    try:
      found, others = _opened(word)
      files += found
      left_out += others
    except (ValueError, OSError) as error:
      reason = getattr(error, "strerror", None) or str(error)
      problems.append((word, reason.rstrip(".")))
  return Pictures(files), problems, left_out


def _expanded(words: Sequence[str], stdin) -> Iterator[str | _Held]:
  """Words, with those of standard input, or its picture, for "-"."""
  for word in words:
    if word != STDIN:
      yield word
      continue
    data = (stdin or sys.stdin.buffer).read()
    lines = [os.fsdecode(line.strip()) for line in data.split(b"\n")]
    names = [line for line in lines if line not in ("", STDIN)]
    if b"\0" not in data and any(map(os.path.exists, names)):
      yield from names
    else:
      yield _Held(data=data)


def _opened(word: str) -> tuple[list, list[tuple[str, str]]]:
  """The files of one word, and what lies beside them."""
  if not word:
    raise ValueError("an empty name")
  if not os.path.exists(word) and glob.has_magic(word):
    names = sorted(glob.glob(word, recursive=True))
    if not names:
      raise ValueError("no file fits this pattern")
    parts = [_opened(name) for name in names]
    return sum((p[0] for p in parts), []), sum((p[1] for p in parts), [])
  name = file_trees.unicode_name(word)
  if file_trees.is_tree(word):
    tree = file_trees.open_tree(word)
    images, left_out = origins.sort_out(tree)
    if not images:
      found = "; ".join(origins.summary(left_out))
      raise ValueError(f"no images in it{f' ({found})' if found else ''}")
    named = [(os.path.join(name, path), tree, path) for path in images]
    return named, left_out
  root, base = os.path.split(word)
  tree = file_trees.DirectoryTree(root or ".", only=(base,))
  return [(name, tree, tree.paths[0])], []
