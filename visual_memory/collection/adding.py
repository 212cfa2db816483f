"""Building a memory from folders of pictures, and adding to it.

  report = build("memory", ["photos/"], encoder, {"name": "pixels"})
  report = add(store, ["more/", "rex.jpg"], class_name="dog")
  report.num_added, report.num_present, report.remarks()

Both look at every file first, and with `dry_run` do nothing more.
"""

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.collection import ingest, origins, plan, provenance
from visual_memory.collection.identity import PICTURE, Judged, Status
from visual_memory.collection.origins import Opened, Options, Origin
from visual_memory.collection.plan import Plan
from visual_memory.encoders.encoder import Encoder
from visual_memory.store.errors import StoreError, sentence
from visual_memory.store.store import Store

_SHOWN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """How pictures are added.

  Attributes:
    options: how the folders are to be read.
    class_name: of all of them, whatever their folders say.
    metadata: a JSON object for all the new rows.
    update: embed changed files again, give moved ones the class of their
      folder, and pictures that are there the class that was named.
    forgotten_too: add what was removed before.
    reread: read every file, whatever its directory says of it.
    dry_run: look, and change nothing.
    batch_size: images given to a device at a time.
    progress: print progress to standard error.
  """

  options: Options = Options()
  class_name: str | None = None
  metadata: Mapping[str, Any] | None = None
  update: bool = False
  forgotten_too: bool = False
  reread: bool = False
  dry_run: bool = False
  batch_size: int | None = None
  progress: bool = True

  def __post_init__(self):
    """Raises ValueError if the metadata have a field that is the memory's."""
    if PICTURE in (self.metadata or ()):
      raise ValueError(
        f"The metadata's field {PICTURE!r} is the memory's own: name yours"
        " otherwise."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """What became of the files.

  Attributes:
    num_added: pictures that are new rows; in a dry run, that would be.
    num_updated: rows embedded again.
    num_relabelled: rows that have another class now.
    plan: what every file was to the memory.
    unreadable: pictures that could not be decoded: (path, reason).
    problems: what was named but could not be opened: (path, reason).
    dry_run: whether nothing was done.
  """

  num_added: int
  num_updated: int
  num_relabelled: int
  plan: Plan
  unreadable: tuple[tuple[str, str], ...]
  problems: tuple[tuple[str, str], ...]
  dry_run: bool

  @property
  def num_present(self) -> int:
    """Files that are pictures of the memory already, copies apart."""
    return len(self.plan.of(Status.SAME)) + len(self.plan.of(Status.MOVED))

  def to_dict(self) -> dict[str, Any]:
    """As plain JSON values."""
    of = self.plan.of
    named = lambda entries: [_told(entry) for entry in entries]
    skipped = [*self.problems, *self.unreadable, *self.plan.left_out]
    return {
      "added": self.num_added,
      "updated": self.num_updated,
      "relabelled": self.num_relabelled,
      "already_there": self.num_present,
      "moved": named(of(Status.MOVED)),
      "copies": named(of(Status.COPY)),
      "changed": named(of(Status.CHANGED)),
      "forgotten": named(of(Status.FORGOTTEN)),
      "other_class": named(self.plan.conflicts),
      "missing": list(self.plan.missing),
      "skipped": [{"id": i, "reason": why} for i, why in skipped],
      "notes": list(self.plan.notes),
      "origins": [dataclasses.asdict(o) for o in self.plan.origins],
      "dry_run": self.dry_run,
    }

  def remarks(self) -> list[str]:
    """What a person should know, a sentence each; nothing is left out."""
    of, lines = self.plan.of, list(self.plan.notes)
    lines += [f"{path!r} was not added: {why}" for path, why in self.problems]
    if skipped := (*self.unreadable, *self.plan.left_out):
      found = "; ".join(origins.summary(skipped))
      verb = "file was" if len(skipped) == 1 else "files were"
      lines.append(f"{len(skipped):,} {verb} skipped: {found}.")
    if moved := of(Status.MOVED):
      lines.append(f"{_named(moved, 'moved picture')}: the new place is noted.")
    if copies := of(Status.COPY):
      lines.append(f"{_named(copies, 'copy')} of what is there once already.")
    if (changed := of(Status.CHANGED)) and not self.plan.update:
      lines.append(
        f"{_named(changed, 'changed file')}: --update embeds it as it is now."
      )
    if forgotten := of(Status.FORGOTTEN):
      lines.append(
        f"{_named(forgotten, 'picture')} that this memory was told to forget"
        " before: not added; --forgotten adds what was removed again."
      )
    if conflicts := self.plan.conflicts:
      one = conflicts[0]
      lines.append(
        f"{_named(conflicts, 'file')} of another class:"
        f" {one.found.class_name!r}, but {one.id!r} is {one.class_name!r} and"
        f" stays so. `relabel {shlex.quote(one.id)} --to"
        f" {shlex.quote(one.found.class_name)}` changes that."
      )
    if missing := self.plan.missing:
      verb = "picture is" if len(missing) == 1 else "pictures are"
      lines.append(
        f"{len(missing):,} {verb} no longer there, such as {missing[0]!r}:"
        " kept, until you remove it."
      )
    return lines


def build(
  path: str | os.PathLike,
  images: Sequence[str],
  encoder: Encoder,
  arguments: Mapping[str, Any],
  request: Request = Request(),
) -> tuple[Store | None, Report]:
  """A new memory of pictures; a stopped build goes on.

  Args:
    path: of the memory.
    images: folders, archives or image files.
    encoder: for its rows.
    arguments: those of `load_encoder` that gave it, plain JSON values.
    request: how they are added.

  Returns:
    The memory (None after a dry run of a build that was not begun), and what
    became of the files.

  Raises:
    StoreError: there is a memory already, or another build is at work.
    ValueError: no images, or something to be decided; names the flag.
  """
  with ingest.alone(path):
    store = ingest.unfinished(path)
    recorded = provenance.provenance(store).origins if store else ()
    opened, problems = open_all(images, request.options, recorded)
    made = _plan(store, opened, request)
    if request.dry_run:
      return store, _report(made, problems, None)
    count = len(made.of(Status.NEW))
    store = ingest.create(path, encoder, arguments, num_images=count)
    done = _carry_out(store, encoder, made, request)
    ingest.finish(store)
    return store, _report(made, problems, done)


def add(
  store: Store, images: Sequence[str], request: Request = Request()
) -> Report:
  """Adds what is new among pictures to a memory.

  Args:
    store: the memory.
    images: folders, archives or image files.
    request: how they are added.

  Raises:
    StoreError: the memory does not know its encoder, or another build or add
      is at work.
    ValueError: no images, or something to be decided; names the flag.
  """
  with ingest.alone(store.path):
    recorded = provenance.provenance(store).origins
    opened, problems = open_all(images, request.options, recorded)
    made = _plan(store, opened, request)
    if request.dry_run:
      return _report(made, problems, None)
    # Nothing waits for an encoder that has nothing to do.
    encoder = provenance.load_encoder(store) if made.to_embed else None
    return _report(made, problems, _carry_out(store, encoder, made, request))


def open_all(
  images: Sequence[str], options: Options, recorded: Sequence[Origin]
) -> tuple[list[Opened], list[tuple[str, str]]]:
  """Everything that can be opened, and what is wrong with the rest.

  Raises:
    ValueError, OSError: nothing can be opened; the first problem.
  """
  opened, problems, first = [], [], None
  for path in images:
    try:
      opened.append(origins.open_origin(path, options, recorded=recorded))
    except (ValueError, OSError) as error:
      first = first or error
      problems.append((path, sentence(error)))
  if not opened:
    raise first or ValueError("Say which images: a folder, .zip or file.")
  return opened, problems


def _plan(store: Store | None, opened: list[Opened], request: Request) -> Plan:
  return plan.make_plan(
    store,
    opened,
    class_name=request.class_name,
    update=request.update,
    forgotten_too=request.forgotten_too,
    reread=request.reread,
    progress=request.progress,
  )


def _carry_out(
  store: Store, encoder: Encoder | None, made: Plan, request: Request
) -> ingest.Ingested:
  if encoder is not None and encoder.fingerprint != store.fingerprint:
    raise StoreError("The encoder is not the memory's.")
  return ingest.carry_out(
    store,
    encoder,
    made,
    metadata=request.metadata,
    batch_size=request.batch_size,
    progress=request.progress,
  )


def _report(made: Plan, problems, done: ingest.Ingested | None) -> Report:
  """What was done, or would be."""
  changed = len(made.of(Status.CHANGED)) if made.update else 0
  would = ingest.Ingested(
    num_added=len(made.of(Status.NEW)),
    num_updated=changed,
    num_relabelled=len(made.relabel),
    unreadable=(),
  )
  did = done or would
  return Report(
    num_added=did.num_added,
    num_updated=did.num_updated,
    num_relabelled=did.num_relabelled,
    plan=made,
    unreadable=did.unreadable,
    problems=tuple(problems),
    dry_run=done is None,
  )


def _told(entry: Judged) -> dict[str, Any]:
  """A file and its row, as plain values."""
  return {
    "file": entry.found.location,
    "id": entry.id,
    "class": entry.class_name,
    "says": entry.found.class_name,
  }


def _named(entries: Sequence[Judged], what: str) -> str:
  """So many of something, and the first of them by name."""
  plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
  shown = ", ".join(repr(entry.found.path) for entry in entries[:_SHOWN])
  more = ", ..." if len(entries) > _SHOWN else ""
  return (
    f"{len(entries):,} {what if len(entries) == 1 else plural} ({shown}{more})"
  )
