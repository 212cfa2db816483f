"""What is to become of the files of some folders: looked at, nothing changed.

plan = make_plan(store, [opened])
plan.of(Status.NEW), plan.of(Status.CHANGED), plan.conflicts, plan.notes
"""

import dataclasses
import functools
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures

from visual_memory.collection import identity, judging
from visual_memory.collection.identity import Found, Judged, Known, Status
from visual_memory.collection.origins import Opened, Origin
from visual_memory.collection.provenance import Pictures, Provenance
from visual_memory.collection.provenance import provenance as provenance_of
from visual_memory.data.contents import Content, Seen
from visual_memory.data.file_trees import FileTree
from visual_memory.progress import Progress
from visual_memory.store.store import Store

_READERS = 4
"""Threads that read files for their checksums."""

_FEW = 8
"""Files that are read rather than the records of all rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """What is to become of the files of some origins.

  Attributes:
    judged: every picture file.
    trees: the tree that reads each, in the same order.
    origins: all origins of the memory, the new ones among them.
    after: the pictures of rows that are new, or lie elsewhere now.
    relabel: rows that get another class, because it was asked for: (id, class).
    conflicts: rows whose file says another class, and keep theirs.
    missing: rows whose file was in one of these origins and is no more.
    left_out: files that are no pictures: (path, reason).
    notes: what was ambiguous, with the flag that decides it.
    update: whether changed files are embedded again.
  """

  judged: tuple[Judged, ...]
  trees: tuple[FileTree, ...]
  origins: tuple[Origin, ...]
  after: Mapping[str, identity.Picture]
  relabel: tuple[tuple[str, str], ...]
  conflicts: tuple[Judged, ...]
  missing: tuple[str, ...]
  left_out: tuple[tuple[str, str], ...]
  notes: tuple[str, ...]
  update: bool

  @property
  def to_embed(self) -> list[int]:
    """The positions of the files that are to be embedded."""
    wanted = {Status.NEW} | ({Status.CHANGED} if self.update else set())
    return [n for n, e in enumerate(self.judged) if e.status in wanted]

  def of(self, status: Status) -> list[Judged]:
    """The files that are this to the memory."""
    return [entry for entry in self.judged if entry.status is status]


def make_plan(
  store: Store | None,
  opened: Sequence[Opened],
  *,
  class_name: str | None = None,
  update: bool = False,
  forgotten_too: bool = False,
  reread: bool = False,
  progress: bool = True,
) -> Plan:
  """Looks at every file and says what it is to the memory; edits nothing.

  A file is read once, unless its directory says that it is what it was when it
  was read before.

  Args:
    store: the memory; None before there is one.
    opened: the origins.
    class_name: of all files, whatever their folders say.
    update: changed files will be embedded again, moved ones get the class of
      their folder, and those given a class get it.
    forgotten_too: add what was removed before.
    reread: read every file, whatever its directory says.
    progress: print progress to standard error.
  """
  about = provenance_of(store) if store is not None else Provenance()
  numbers = []
  for one in opened:
    about, number = about.with_origin(one.origin)
    numbers.append(number)
  few = sum(len(one.images) for one in opened) <= _FEW
  few = few and not any(one.whole for one in opened)
  known = None if few else Known(store, about.origins)
  look = functools.partial(_content, known=None if reread else known)
  files, trees, unread = _look(
    opened, numbers, class_name, look, progress=progress
  )
  if known is None:
    known = Known(store, about.origins, about=files)
  aside = unread + [
    (number, path, reason)
    for number, one in zip(numbers, opened, strict=True)
    for path, reason in one.left_out
  ]
  pictures = Pictures(about.origins)
  judged = judging.judge(
    files,
    known,
    still_at=pictures.has,
    update=update,
    forgotten_too=forgotten_too,
  )
  told = class_name is not None
  differ = [e for e in judged if _differs(e, told)]
  chosen = [e for e in differ if update and (told or _is_moved(e))]
  relabel = {e.id: e.found.class_name for e in chosen}
  return Plan(
    judged=tuple(judged),
    trees=tuple(trees),
    origins=about.origins,
    after=judging.pictures_after(judged, known, update=update),
    relabel=tuple(relabel.items()),
    conflicts=tuple(e for e in differ if e.id not in relabel),
    missing=_missing(known, judged, opened, numbers, aside),
    left_out=tuple((path, reason) for _, path, reason in aside),
    notes=tuple(note for one in opened for note in one.notes),
    update=update,
  )


def _look(opened, numbers, class_name, look, *, progress: bool):
  """Every file with its content, its tree, and those that cannot be read."""
  files, trees, unread = [], [], []
  total = sum(len(one.images) for one in opened)
  with (
    Progress(total, what="files looked at", enabled=progress) as counter,
    futures.ThreadPoolExecutor(_READERS) as pool,
  ):
    for one, number in zip(opened, numbers, strict=True):
      contents = pool.map(functools.partial(look, one), one.images)
      for path, name, found in zip(
        one.images, one.classes, contents, strict=True
      ):
        counter.advance(1)
        if isinstance(found, str):
          unread.append((number, path, found))
          continue
        content, seen = found
        files.append(
          Found(
            origin=number,
            path=path,
            location=one.origin.location(path),
            id=one.origin.id_of(path),
            class_name=class_name if class_name is not None else name,
            content=content,
            seen=seen,
          )
        )
        trees.append(one.tree)
  return files, trees, unread


def _content(
  one: Opened, path: str, *, known: Known | None
) -> tuple[Content, Seen | None] | str:
  """The content of a file and how it is seen, or what is wrong with it."""
  try:
    if known is not None:
      seen = one.tree.seen(path)
      content = known.content_if_seen(one.origin.location(path), seen)
      if content is not None:
        return content, seen
    return one.tree.settled_content(path)
  except OSError as error:
    return error.strerror or str(error)


def _differs(entry: Judged, told: bool) -> bool:
  """Whether a row's file says another class than the row has."""
  says = entry.found.class_name
  known = (Status.MOVED, Status.COPY) + ((Status.SAME,) if told else ())
  return says is not None and says != entry.class_name and entry.status in known


def _is_moved(entry: Judged) -> bool:
  return entry.status is Status.MOVED


def _missing(known: Known, judged, opened, numbers, aside) -> tuple[str, ...]:
  """Rows of these origins, read whole, whose picture was not found there.

  What was left aside, or lies in such a folder, is there.
  """
  found = {entry.id for entry in judged}
  there = {(number, path) for number, path, _ in aside}
  whole = {
    n for n, one in zip(numbers, opened, strict=True)
    if one.whole and not one.origin.read
  }  # fmt: skip
  return tuple(
    row_id
    for row_id, picture in known.pictures.items()
    if row_id not in found
    and picture.places
    and all(
      number in whole and not any((number, p) in there for p in _above(path))
      for number, path in picture.places
    )
  )


def _above(path: str) -> Iterator[str]:
  """A path and the folders above it."""
  while path:
    yield path
    path = posixpath.dirname(path)
