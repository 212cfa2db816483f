"""Who a picture is: its content and where it lies, never what is around it.

A row's metadata keeps, under PICTURE, the content (size and digest of the file)
and every place where it was found. Files are then told apart by content first,
by place second:

| content in the memory | at a place it was found | the file is |
|---|---|---|
| yes | yes | the same |
| yes | no, and none of those places has it any more | moved |
| yes | no, and one of those places still has it | a copy |
| no | a row was found here | changed |
| no | no | new, or forgotten if a receipt knows it |

A memory holds a content once, under the class it had when it was added.
"""

import collections
import dataclasses
import enum
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from visual_memory.collection.origins import Origin
from visual_memory.data.contents import Content, Seen
from visual_memory.store.receipts import hash_id
from visual_memory.store.store import Store

PICTURE = "picture"
"""The field of a row's metadata that says which picture it is."""

Place = tuple[int, str]
"""The number of an origin, and a path in its tree."""


class Status(enum.Enum):
  """What a file is to a memory."""

  NEW = "new"
  SAME = "same"
  MOVED = "moved"
  COPY = "copy"
  CHANGED = "changed"
  FORGOTTEN = "forgotten"


_UNTOUCHED = (Status.SAME, Status.FORGOTTEN)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
  """A row's picture.

  Attributes:
    content: of its file when it was embedded.
    places: (origin's number, path in its tree), the first one first.
    seen: what the directory says of the file at a place as long as it has this
      content; see `contents.settled`.
  """

  content: Content
  places: tuple[Place, ...]
  seen: Mapping[Place, Seen] = dataclasses.field(default_factory=dict)

  def to_record(self) -> dict[str, Any]:
    """As plain JSON values."""
    record = {
      "size": self.content[0],
      "digest": self.content[1],
      "places": [list(place) for place in self.places],
    }
    if any(place in self.seen for place in self.places):
      record["seen"] = [
        list(self.seen[place]) if place in self.seen else None
        for place in self.places
      ]
    return record


def picture_of(metadata: Mapping[str, Any]) -> Picture | None:
  """The picture that a row's metadata records, or None if it records none."""
  record = metadata.get(PICTURE)
  try:
    places = tuple((int(o), str(path)) for o, path in record["places"])
    seen = {
      place: tuple(map(int, values))
      for place, values in zip(places, record.get("seen") or (), strict=False)
      if values is not None
    }
    content = int(record["size"]), str(record["digest"])
    return Picture(content=content, places=places, seen=seen)
  except (TypeError, ValueError, KeyError):
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """A file that was looked at.

  Attributes:
    origin: its origin's number.
    path: in the origin's tree.
    location: one name in the world.
    id: the id that it should have.
    class_name: what its folder or the user says.
    content: of the file now.
    seen: what its directory says as long as it has this content, if anything.
  """

  origin: int
  path: str
  location: str
  id: str
  class_name: str | None
  content: Content
  seen: Seen | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
  """A file, and what it is to the memory.

  Attributes:
    found: the file.
    status: what it is.
    id: of the row that it is, or is to become.
    class_name: the row's class in the memory; the file's for a new one.
  """

  found: Found
  status: Status
  id: str
  class_name: str | None


class Known:
  """The pictures of a store at one generation, by place and by content."""

  def __init__(self, store: Store | None, origins: Sequence[Origin]):
    """Reads the records of all rows; None is a memory without any."""

    def read(state):
      names = (*state.manifest.class_names, None)
      labels = state.columns["labels"][state.rows]
      return (
        state.ids[state.rows].tolist(),
        [names[label] for label in labels.tolist()],
        state.metadata(state.rows),
        state.manifest.salt,
      )

    nothing = [], [], [], ""
    ids, classes, records, self.salt = (
      store.handle.read(read) if store is not None else nothing
    )
    self.classes = dict(zip(ids, classes, strict=True))
    self.records = dict(zip(ids, records, strict=True))
    self.pictures: dict[str, Picture] = {}
    self.at: dict[str, str] = {}
    self.of: dict[Content, str] = {}
    for row_id, record in self.records.items():
      picture = picture_of(record)
      if picture is None:
        continue
      self.pictures[row_id] = picture
      self.of.setdefault(picture.content, row_id)
      for number, path in picture.places:
        if number < len(origins):
          self.at[origins[number].location(path)] = row_id
    self.origins = tuple(origins)
    removed: set[str] = set()
    for receipt in store.receipts() if store is not None else ():
      removed.update(receipt.removed, receipt.known_as)
    self._removed = removed

  def content_if_seen(self, location: str, seen: Seen) -> Content | None:
    """The content of a file that its directory says has not changed."""
    row_id = self.at.get(location)
    if row_id is None:
      return None
    picture = self.pictures[row_id]
    for place, was in picture.seen.items():
      at = self.origins[place[0]] if place[0] < len(self.origins) else None
      if at is not None and at.location(place[1]) == location and was == seen:
        return picture.content
    return None

  def was_removed(self, *names: str) -> bool:
    """Whether a receipt knows one of these names: ids, contents."""
    return bool(self._removed) and any(
      hash_id(self.salt, name) in self._removed for name in names
    )


def content_name(content: Content) -> str:
  """What a receipt hashes, beside the id, to know a removed picture again."""
  return f"picture of {content[0]} bytes, digest {content[1]}"


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
  taken, first = set(known.classes), dict[Content, Judged]()
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
      status, row = Status.NEW, free_id(file, taken)
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


def free_id(file: Found, taken: set[str]) -> str:
  """An id that no picture has: more of the path than usual, then a number."""
  if file.id not in taken:
    return file.id
  parts = file.location.strip("/").split("/")
  least = file.id.count("/") + 2
  for count in range(least, len(parts) + 1):
    longer = "/".join(parts[-count:])
    if longer not in taken:
      return longer
  numbers = (number for number in range(2, len(taken) + 3))
  stem, suffix = os.path.splitext(file.id)
  return next(
    name
    for number in numbers
    if (name := f"{stem} ({number}){suffix}") not in taken
  )


def counts(judged: Iterable[Judged]) -> dict[str, int]:
  """How many files are what, by the status's name; none are left out."""
  found = collections.Counter(entry.status.value for entry in judged)
  return {status.value: found.get(status.value, 0) for status in Status}
