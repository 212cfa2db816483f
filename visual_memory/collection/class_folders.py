"""What the folders of a tree mean: a top folder, splits, classes.

  photos/{train,test}/CLASS/NAME.jpg      splits
  archive/photos/CLASS/NAME.jpg           one top folder, skipped: the root
  photos/animals/CLASS/NAME.jpg           classes further down

`decide` looks at a tree once; `class_of` is then a function of what was decided
and of one path, so no other file has a say in it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from visual_memory.data.folder import is_split

FLAT, LAST, PATH = "none", "last", "path"
"""Levels of the class: no folder at all, the folder that an image lies in, or
all folders below the root; "1", "2", ... count folders from there."""


def class_of(origin: Any, path: str) -> str | None:
  """The class that a path says, None where it says none.

  Args:
    origin: its root, splits and class_level.
    path: in the origin's tree.
  """
  folders = _folders(origin, path)
  if origin.class_level == FLAT or not folders:
    return None
  if origin.class_level == LAST:
    return folders[-1]
  if origin.class_level == PATH:
    return "/".join(folders)
  return folders[min(int(origin.class_level), len(folders)) - 1]


def in_split(origin: Any, path: str, split: str | None) -> bool:
  """Whether a path is in the splits that are to be read."""
  wanted = (_named(origin.splits, split),) if split else origin.read
  if not wanted:
    return True
  return path.removeprefix(origin.root).partition("/")[0] in wanted


def decide(
  images: Sequence[str], options: Any, origin: Any, *, path: str, new: bool
) -> tuple[Any, list[str]]:
  """An origin with its root, splits and class level, and what was unclear.

  Args:
    images: paths in the tree, at least one.
    options: what the user decided (split, class_level, flat).
    origin: what was decided before, or a new one.
    path: of the tree, for messages.
    new: whether nothing was decided before.

  Raises:
    ValueError: a split that is not there, one of several that must be chosen,
      or a class level that is none.
  """
  if options.class_level is not None:
    _check_level(options.class_level)
  notes: list[str] = []
  if new:
    origin = dataclasses.replace(origin, root=_root(images, options.flat))
  origin = _with_splits(images, options, origin, path, notes, new=new)
  if options.flat:
    return dataclasses.replace(origin, class_level=FLAT), notes
  chosen = [p for p in images if in_split(origin, p, options.split)]
  folders = sorted({f for p in chosen if (f := _folders(origin, p))})
  level = options.class_level or (None if new else origin.class_level)
  if level is None:
    level = _level(folders, notes)
  elif level == LAST and not options.class_level:
    _note_merged(folders, notes)
  return dataclasses.replace(origin, class_level=level), notes


def _folders(origin: Any, path: str) -> tuple[str, ...]:
  """The folders of an image below the root, without its split."""
  folders = tuple(path.removeprefix(origin.root).split("/")[:-1])
  return folders[1:] if folders[:1] and folders[0] in origin.splits else folders


def _root(images: Sequence[str], flat: bool) -> str:
  """The folders that hold all the others, as archives have them."""
  root = ""
  while True:
    top, slash, _ = images[0][len(root) :].partition("/")
    deeper = root + top + slash
    below = [p[len(deeper) :] for p in images if p.startswith(deeper)]
    holds_all = slash and len(below) == len(images) and not is_split(top)
    if not holds_all or not (flat or all("/" in name for name in below)):
      return root
    root = deeper


def _with_splits(images, options, origin, path, notes, *, new: bool):
  """The origin with the splits that are there and those that are read."""
  below = [p.removeprefix(origin.root) for p in images]
  tops = {p.partition("/")[0] for p in below if "/" in p}
  named = sorted(filter(is_split, tops))
  if options.split is not None:
    found = _named(tops, options.split)
    if found not in tops:
      raise ValueError(
        f"{path!r} has no split {options.split!r}; its folders are"
        f" {', '.join(map(repr, sorted(tops)[:20])) or 'none'}: leave out"
        " --split to read everything."
      )
    splits = tuple(sorted({*origin.splits, *named, found}))
    read = tuple(sorted({*origin.read, found}))
    return dataclasses.replace(origin, splits=splits, read=read)
  if not new or options.flat or not named:
    return origin
  if set(named) != tops:
    others = sorted(tops - set(named))
    notes.append(
      f"{', '.join(named)} are taken as classes, like {others[0]!r}: --split"
      f" {named[0]} reads that folder alone, with the classes in it."
    )
    return origin
  if len(named) > 1:
    raise ValueError(
      f"{path!r} has the splits {', '.join(map(repr, named))}: choose one"
      f" with --split {named[0]}."
    )
  if all("/" not in p.partition("/")[2] for p in below):
    return origin  # A single folder of images: a class of that name.
  splits = tuple(named)
  return dataclasses.replace(origin, splits=splits, read=splits)


def _named(tops, split: str | None) -> str | None:
  """The folder that a user means by a split's name, in any case."""
  alike = [top for top in tops if top.lower() == (split or "").lower()]
  return alike[0] if split not in tops and len(alike) == 1 else split


def _level(folders: Sequence[tuple[str, ...]], notes: list[str]) -> str:
  """The class level where nobody has decided, and a note if it is unclear."""
  depths = sorted({len(f) for f in folders})
  if len(depths) > 1:
    deep = next(f for f in folders if len(f) > 1)
    notes.append(
      f"Images lie {' and '.join(map(str, depths))} folders deep. The class is"
      f" the folder that an image lies in ({deep[-1]!r} for"
      f" {'/'.join(deep)}); --class-level 1 takes the first one ({deep[0]!r})."
    )
  merged = _merged(folders)
  if not merged:
    return LAST
  first, second = merged[:2]
  notes.append(
    f"{'/'.join(first)} and {'/'.join(second)} are two classes, named by their"
    f" whole paths; --class-level last makes them one, {first[-1]!r}."
  )
  return PATH


def _note_merged(folders, notes: list[str]) -> None:
  """Says that folders of one name make one class, as was decided before."""
  merged = _merged(folders)
  if merged:
    notes.append(
      f"{' and '.join('/'.join(f) for f in merged[:2])} are one class,"
      f" {merged[0][-1]!r}, as was decided when this folder was first added;"
      " --class-level path tells them apart."
    )


def _merged(folders: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
  """The first folders that share their last name."""
  by_name: dict[str, list[tuple[str, ...]]] = {}
  for f in folders:
    by_name.setdefault(f[-1], []).append(f)
  return next((group for group in by_name.values() if len(group) > 1), [])


def _check_level(level: str) -> None:
  """Raises ValueError unless it is a class level."""
  if level not in (LAST, PATH) and not (level.isdigit() and int(level) > 0):
    raise ValueError(
      f"--class-level {level}: say 1, 2, ... (which folder, from the top),"
      " 'last' (the one an image lies in) or 'path' (all of them)."
    )
