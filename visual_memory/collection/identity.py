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

import dataclasses
import enum
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from visual_memory.collection.origins import Origin
from visual_memory.data.contents import Content, Seen
from visual_memory.store import which_rows
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

  def __init__(
    self,
    store: Store | None,
    origins: Sequence[Origin],
    *,
    about: Iterable[Found] | None = None,
  ):
    """Reads the records of rows.

    Args:
      store: the memory; None is one without any rows.
      origins: of its rows.
      about: read only the rows that have the content of one of these files, or
        were found under its name; by default all.
    """
    words = None if about is None else [*_words(about)]

    def read(state):
      names = (*state.manifest.class_names, None)
      if words is None:
        slots, ids = state.rows, state.ids[state.rows].tolist()
      else:
        slots = which_rows.mentioning(state, words)
        ids = state.read_ids(slots)
      labels = state.columns.at("labels", slots)
      return (
        ids,
        [names[label] for label in labels.tolist()],
        state.metadata(slots),
        state.manifest.salt,
      )

    nothing = [], [], [], ""
    ids, classes, records, self.salt = (
      store.handle.read(read) if store is not None else nothing
    )
    self._store = store
    self._all = store is None or words is None
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

  def holds(self, row_id: str) -> bool:
    """Whether the memory has a row of this id."""
    if self._all or row_id in self.classes:
      return row_id in self.classes
    return bool(self._store.among([row_id])[0])

  def was_removed(self, *names: str) -> bool:
    """Whether a receipt knows one of these names: ids, contents."""
    return bool(self._removed) and any(
      hash_id(self.salt, name) in self._removed for name in names
    )


def _words(files: Iterable[Found]) -> Iterator[bytes]:
  """What the record of a row holds that one of these files may be."""
  for file in files:
    yield file.content[1].encode()
    for plain in (False, True):
      name = json.dumps(posixpath.basename(file.path), ensure_ascii=plain)
      yield name[1:].encode()  # Without what is before it in the path.


def content_name(content: Content) -> str:
  """What a receipt hashes, beside the id, to know a removed picture again."""
  return f"picture of {content[0]} bytes, digest {content[1]}"
