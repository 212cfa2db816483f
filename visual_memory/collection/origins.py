"""Where pictures come from, and what the folders there mean.

An origin is a folder, an archive or single files. How its tree is to be read
(where ids begin, which folders are splits, which folder is the class) is
decided once, when it is first added, and recorded: whatever comes to lie around
a picture later changes neither its id nor its class.

  opened = open_origin("photos.zip", options, recorded=known_origins)
  opened.origin.class_level, opened.classes, opened.left_out, opened.notes
"""

import collections
import dataclasses
import fnmatch
import os
from collections.abc import Iterable, Sequence

from visual_memory.collection import class_folders
from visual_memory.collection.class_folders import FLAT
from visual_memory.data import file_trees, folder
from visual_memory.data.file_trees import FileTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """A folder or archive, and how its tree is read.

  Attributes:
    path: absolute.
    root: the folder below it where ids and classes begin, "" or "NAME/".
    splits: folders below the root that are splits, not classes.
    read: those splits that were asked for.
    class_level: which folder is the class; see `class_folders.class_of`.
    exclude: patterns of what is left out.
    zip_encoding: of an archive's names that say none.
    prefix: put before its ids.
  """

  path: str
  root: str = ""
  splits: tuple[str, ...] = ()
  read: tuple[str, ...] = ()
  class_level: str = FLAT
  exclude: tuple[str, ...] = ()
  zip_encoding: str | None = None
  prefix: str = ""

  def location(self, path: str) -> str:
    """One name in the world for a file of the origin."""
    return f"{self.path}/{path}"

  def id_of(self, path: str) -> str:
    """The id that a file should have, if no other picture has it."""
    return self.prefix + path.removeprefix(self.root)

  def open(self) -> FileTree:
    """Its files as they are now.

    Raises:
      OSError: there is nothing any more.
      ValueError: it is no folder and no archive any more.
    """
    return file_trees.open_tree(self.path, zip_encoding=self.zip_encoding)


def origin_from(values: dict) -> Origin:
  """An origin from its JSON values."""
  known = {field.name: field for field in dataclasses.fields(Origin)}
  made = {name: values[name] for name in known if name in values}
  for name in ("splits", "read", "exclude"):
    made[name] = tuple(made.get(name, ()))
  return Origin(**made)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What a user said about how to read an origin; None is: decide.

  Attributes:
    flat: no folder is a class.
    split: the split to read.
    class_level: see `class_folders.class_of`.
    exclude: patterns of what to leave out.
    zip_encoding: see `file_trees.open_tree`.
    prefix: put before the ids.
  """

  flat: bool = False
  split: str | None = None
  class_level: str | None = None
  exclude: tuple[str, ...] = ()
  zip_encoding: str | None = None
  prefix: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
  """The pictures of an origin as they are now.

  Attributes:
    origin: with what was decided.
    tree: reads them.
    images: their paths in the tree, sorted, [N].
    classes: what each image's folder says, None where there is no class, [N].
    left_out: (path, reason) of every other file.
    notes: what was ambiguous, with the flag that decides it.
    whole: whether these are all pictures of the origin.
  """

  origin: Origin
  tree: FileTree
  images: list[str]
  classes: list[str | None]
  left_out: list[tuple[str, str]]
  notes: list[str]
  whole: bool = True


def open_origin(
  path: str, options: Options, *, recorded: Iterable[Origin] = ()
) -> Opened:
  """A folder, an archive, or one image file, opened.

  Args:
    path: as the user said it.
    options: what the user decided.
    recorded: origins whose decisions stand, unless an option says otherwise.

  Raises:
    FileNotFoundError: there is nothing there.
    ValueError: an empty path, no images, or something to be decided; it names
      the flag.
  """
  check_there([path])
  whole = os.path.abspath(path)
  if not file_trees.is_tree(whole):
    return _one_file(path, whole, options, recorded)
  before = _recorded(whole, options, recorded)
  encoding = options.zip_encoding or (before.zip_encoding if before else None)
  tree = file_trees.open_tree(whole, zip_encoding=encoding)
  exclude = options.exclude or (before.exclude if before else ())
  images, left_out = sort_out(tree, exclude)
  if not images:
    raise ValueError(_nothing_in(path, left_out))
  origin = before or Origin(path=whole, prefix=options.prefix)
  decided, notes = class_folders.decide(
    images, options, origin, path=path, new=before is None
  )
  origin = dataclasses.replace(
    decided, exclude=tuple(exclude), zip_encoding=encoding
  )
  chosen = [
    p for p in images if class_folders.in_split(origin, p, options.split)
  ]
  classes = [class_folders.class_of(origin, p) for p in chosen]
  if origin.class_level != FLAT:
    chosen, classes, stray = _in_classes(chosen, classes, path)
    left_out += stray
  notes += _guessed_names(tree)
  return Opened(
    origin=origin,
    tree=tree,
    images=chosen,
    classes=classes,
    left_out=left_out,
    notes=notes,
  )


def check_there(paths: Sequence[str]) -> None:
  """Raises ValueError or FileNotFoundError if none of the paths is there."""
  for path in paths:
    if path and os.path.exists(path):
      return
  if not paths or not paths[0]:
    raise ValueError("One of the paths is empty: say which images are meant.")
  if os.path.islink(paths[0]):
    raise FileNotFoundError(f"{paths[0]!r} is a link that leads nowhere.")
  raise FileNotFoundError(f"There is no folder, .zip or image at {paths[0]!r}.")


def sort_out(
  tree: FileTree, exclude: Sequence[str] = ()
) -> tuple[list[str], list[tuple[str, str]]]:
  """The images of a tree by their names, and why other files are none."""
  images, left_out = [], list(tree.problems)
  for path in tree.paths:
    if any(_fits(path, pattern) for pattern in exclude):
      left_out.append((path, "excluded"))
    elif os.path.splitext(path)[1].lower() in folder.IMAGE_SUFFIXES:
      images.append(path)
    else:
      left_out.append((path, "no picture by its name"))
  return images, left_out


def _fits(path: str, pattern: str) -> bool:
  """Whether a pattern names a file: its path, its name, or a folder above."""
  parts = [path, *path.split("/")]
  return any(fnmatch.fnmatchcase(part, pattern.rstrip("/")) for part in parts)


def _one_file(
  path: str, whole: str, options: Options, recorded: Iterable[Origin]
) -> Opened:
  """A single image file, without a look at what lies beside it."""
  if not options.flat:
    raise ValueError(f"{path!r} is one image: say its class with --class NAME.")
  root, name = os.path.split(whole)
  tree = file_trees.DirectoryTree(root, only=(name,))
  before = _recorded(root, options, recorded)
  return Opened(
    origin=before or Origin(path=root, prefix=options.prefix),
    tree=tree,
    images=list(tree.paths),
    classes=[None] * len(tree.paths),
    left_out=list(tree.problems),
    notes=[],
    whole=False,
  )


def _recorded(
  path: str, options: Options, recorded: Iterable[Origin]
) -> Origin | None:
  """What was decided about this path before, if it still applies."""
  for origin in recorded:
    flat = origin.class_level == FLAT
    if (origin.path, flat) == (path, options.flat):
      if options.prefix in ("", origin.prefix):
        return origin
  return None


def _in_classes(images, classes, path):
  """The images that lie in class folders, and those that do not."""
  stray = [p for p, name in zip(images, classes, strict=True) if name is None]
  if len(stray) == len(images):
    raise ValueError(
      f"No image in {path!r} lies in a class folder (the first is"
      f" {stray[0]!r}): say --class NAME for all of them, or --unlabeled."
    )
  reason = "in no class folder: add it with --class NAME"
  kept = [(p, c) for p, c in zip(images, classes, strict=True) if c is not None]
  return (
    [p for p, _ in kept],
    [c for _, c in kept],
    [(p, reason) for p in stray],
  )


def _guessed_names(tree: FileTree) -> list[str]:
  """What to say about an archive's names of an unknown encoding."""
  guessed = getattr(tree, "guessed", ())
  if not guessed:
    return []
  return [
    f"{len(guessed)} names in the archive state no encoding, such as"
    f" {guessed[0]!r}: --zip-encoding NAME (such as cp932) reads them by"
    " another one."
  ]


def _nothing_in(path: str, left_out: list[tuple[str, str]]) -> str:
  """The sentence for an origin without images."""
  lines = "; ".join(summary(left_out))
  return f"There are no images in {path!r}" + (f": {lines}." if lines else ".")


def summary(left_out: Iterable[tuple[str, str]]) -> list[str]:
  """What was left out, counted by reason and suffix, most frequent first."""
  by_reason: dict[str, list[str]] = {}
  for path, reason in left_out:
    by_reason.setdefault(reason, []).append(path)
  found = []
  for reason, paths in sorted(by_reason.items(), key=lambda x: -len(x[1])):
    counts = collections.Counter(map(_suffix, paths)).most_common()
    said = ", ".join(f"{count:,} {suffix}" for suffix, count in counts)
    found.append(f"{said}: {reason} ({paths[0]!r})")
  return found


def _suffix(path: str) -> str:
  """A file's suffix; its name where it has none."""
  return os.path.splitext(path)[1].lower() or path.rsplit("/", 1)[-1]
