"""What each file is to a memory: the same picture, moved, a copy, changed, new.

  judged = judge(files, known, still_at=pictures.has)
  after = pictures_after(judged, known, update=False)

The rules are those of the table in identity.py.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterable

from visual_memory.collection.identity import (
  Found,
  Judged,
  Known,
  Picture,
  Status,
  content_name,
)
from visual_memory.data.contents import Content

_UNTOUCHED = (Status.SAME, Status.FORGOTTEN)


def judge(
  files: Iterable[Found],
  known: Known,
  *,
  still_at: Callable[[int, str, Content], bool],
  update: bool = False,
  forgotten_too: bool = False,
) -> list[Judged]:
  """What each file is to a memory, in their order.

  Args:
    files: all files of an origin that were looked at.
    known: the memory.
    still_at: whether a place (origin's number, path) has this content.
    update: changed files will take the place of what they were.
    forgotten_too: take what was removed before as new.
  """
  files = list(files)
  here = {file.location: file.content for file in files}
  stays = functools.cache(lambda row: _stays(row, known, here, still_at))
  contents = set(here.values())
  found_again = {
    row for content, row in known.of.items() if content in contents
  }
  taken, first = set[str](), dict[Content, Judged]()
  is_taken = lambda name: name in taken or known.holds(name)
  moved: dict[str, str] = {}
  judged = []
  for file in files:
    at = known.at.get(file.location)
    same = at is not None and known.pictures[at].content == file.content
    row = at if same else known.of.get(file.content)
    if same:
      status = Status.SAME
    elif row is not None:
      goes = not stays(row) and moved.setdefault(row, file.location)
      status = Status.MOVED if goes == file.location else Status.COPY
    elif file.content in first:
      status, row = Status.COPY, first[file.content].id
    elif not forgotten_too and known.was_removed(content_name(file.content)):
      status, row = Status.FORGOTTEN, file.id
    elif at is not None and not stays(at) and at not in found_again:
      status, row = Status.CHANGED, at
    elif not forgotten_too and known.was_removed(file.id):
      status, row = Status.FORGOTTEN, file.id
    else:
      status, row = Status.NEW, free_id(file, is_taken)
      taken.add(row)
    name = known.classes.get(row, file.class_name)
    if status is Status.COPY and file.content in first:
      name = first[file.content].class_name
    entry = Judged(found=file, status=status, id=row, class_name=name)
    if status is Status.NEW or (update and status is Status.CHANGED):
      first[file.content] = entry
    judged.append(entry)
  return judged


def _stays(row: str, known: Known, here, still_at) -> bool:
  """Whether one of a row's places still has its picture."""
  picture = known.pictures[row]
  for number, path in picture.places:
    location = known.origins[number].location(path)
    if location in here:
      if here[location] == picture.content:
        return True
    elif still_at(number, path, picture.content):
      return True
  return False


def pictures_after(
  judged: Iterable[Judged], known: Known, *, update: bool
) -> dict[str, Picture]:
  """The pictures of new rows, and of rows that are or lie elsewhere now.

  Args:
    judged: what the files are.
    known: the memory.
    update: whether changed files take the place of what they were.
  """
  after: dict[str, Picture] = {}
  for entry in judged:
    file, row = entry.found, entry.id
    changed = entry.status is Status.CHANGED
    place = (file.origin, file.path)
    if entry.status is Status.SAME and file.seen is not None:
      old = after.get(row, known.pictures[row])
      if place in old.places and old.seen.get(place) != file.seen:
        after[row] = dataclasses.replace(
          old, seen={**old.seen, place: file.seen}
        )
    if entry.status in _UNTOUCHED or (changed and not update):
      continue
    owner = known.at.get(file.location)
    if owner is not None and owner != row:
      old = after.get(owner, known.pictures[owner])
      left = tuple(
        p for p in old.places if known.origins[p[0]].location(p[1])
        != file.location
      )  # fmt: skip
      after[owner] = dataclasses.replace(old, places=left)
    old = after.get(row, known.pictures.get(row))
    fresh = old is None or changed or entry.status is Status.MOVED
    places = (place,) if fresh else (*old.places, place)
    seen = {} if fresh else dict(old.seen)
    if file.seen is not None:
      seen[place] = file.seen
    after[row] = Picture(
      content=file.content, places=tuple(dict.fromkeys(places)), seen=seen
    )
  return after


def free_id(file: Found, is_taken: Callable[[str], bool]) -> str:
  """An id that no picture has: more of the path than usual, then a number."""
  if not is_taken(file.id):
    return file.id
  parts = file.location.strip("/").split("/")
  least = file.id.count("/") + 2
  for count in range(least, len(parts) + 1):
    longer = "/".join(parts[-count:])
    if not is_taken(longer):
      return longer
  stem, suffix = os.path.splitext(file.id)
  return next(
    name
    for number in itertools.count(2)
    if not is_taken(name := f"{stem} ({number}){suffix}")
  )
