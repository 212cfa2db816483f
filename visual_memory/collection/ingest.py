"""From a plan to rows of a store: embedded, and durable every few seconds.

  with alone(path):
    opened = origins.open_origin("photos", options, recorded=recorded)
    done = carry_out(store, encoder, make_plan(store, [opened]))

A stopped job goes on where it was when it is started again.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from visual_memory import files, types
from visual_memory.collection import embedding
from visual_memory.collection.identity import PICTURE, Status
from visual_memory.collection.plan import Plan
from visual_memory.collection.provenance import Provenance, describe
from visual_memory.encoders.encoder import Encoder
from visual_memory.progress import Progress
from visual_memory.store import creation
from visual_memory.store.errors import StoreError, StoreLocked
from visual_memory.store.store import Store

_LEAST_ROWS, _MOST_ROWS = 256, 8192
"""Rows in a chunk of a small memory, and of a large one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ingested:
  """What became of a plan.

  Attributes:
    num_added: pictures that are rows now.
    num_updated: rows that were embedded again, from a changed file.
    num_relabelled: rows that have another class now.
    unreadable: pictures that could not be read: (path, what is wrong).
  """

  num_added: int
  num_updated: int
  num_relabelled: int
  unreadable: tuple[tuple[str, str], ...]


@contextlib.contextmanager
def alone(path: str | os.PathLike) -> Iterator[None]:
  """Held while pictures are added to a memory, from before the first look.

  Raises:
    StoreLocked: another build, add or rebuild is at work there.
  """
  path = os.fspath(path)
  if "://" in path:  # A bucket has the lock of each edit only.
    yield
    return
  with contextlib.ExitStack() as held:
    try:
      os.makedirs(path, exist_ok=True)
      held.enter_context(files.locked(path, wait=False))
    except BlockingIOError:
      raise StoreLocked(
        f"Another build, add or rebuild is at work on {path}: let it finish,"
        " or stop it. Nothing was done."
      ) from None
    except OSError as error:
      raise StoreError(f"{path!r} cannot be a memory: {error}.") from error
    try:
      yield
    finally:
      with contextlib.suppress(OSError):
        os.rmdir(path)  # If nothing came of it.


def create(
  path: str | os.PathLike,
  encoder: Encoder,
  arguments: Mapping[str, Any],
  *,
  num_images: int,
) -> Store:
  """A store without rows that knows its encoder; an unfinished one goes on.

  Args:
    path: of the store.
    encoder: for its rows.
    arguments: those of `load_encoder` that gave it, plain JSON values.
    num_images: about how many there will be at first.

  Raises:
    StoreError: there is a finished store, or one of another encoder.
  """
  store = unfinished(path)
  if store is None:
    began = Provenance(
      encoder=arguments,
      preprocess=encoder.preprocess.to_dict(),
      unfinished=True,
    )
    empty = types.embedded_set(
      np.zeros((0, encoder.dim), np.float32),
      np.zeros(0, np.int32),
      [],
      class_names=(),
      fingerprint=encoder.fingerprint,
    )
    return Store.create(
      path,
      empty,
      attributes=began.to_attributes(),
      rows_per_chunk=rows_per_chunk(num_images, encoder.dim),
    )
  if store.fingerprint != encoder.fingerprint:
    raise StoreError(
      f"A memory of the encoder {store.fingerprint!r} was begun at {path}, not"
      f" of {encoder.fingerprint!r}: finish it, or delete it first."
    )
  return store


def unfinished(path: str | os.PathLike) -> Store | None:
  """The store at a path whose build was stopped; None if there is no store.

  Raises:
    StoreError: there is a finished store.
  """
  try:
    store = Store.open(path)
  except StoreError:  # There is none; whatever else is there, create says.
    return None
  if not store.attributes.get("unfinished"):
    raise StoreError(
      f"There is a memory at {path} already, of {len(store):,} rows: add to"
      " it, or build another one somewhere else."
    )
  return store


def rows_per_chunk(count: int, dim: int) -> int:
  """A power of two for a memory of about so many rows, which may grow."""
  needed = 1 << max(0, count - 1).bit_length()
  most = min(_MOST_ROWS, creation.rows_per_chunk(_MOST_ROWS, dim))
  return min(max(needed, _LEAST_ROWS), most)


def finish(store: Store) -> None:
  """Marks a store as whole."""
  describe(store, unfinished=False)


def carry_out(
  store: Store,
  encoder: Encoder | None,
  plan: Plan,
  *,
  metadata: Mapping[str, Any] | None = None,
  batch_size: int | None = None,
  progress: bool = True,
) -> Ingested:
  """Makes a store what a plan says.

  Args:
    store: made by `create`.
    encoder: the store's; None where the plan has nothing to embed.
    plan: of this store as it is.
    metadata: a JSON object for all the new rows.
    batch_size: images given to a device at a time.
    progress: print progress to standard error.

  Raises:
    ValueError: not one image of the source can be read.
  """
  describe(store, origins=plan.origins)
  _note_places(store, plan)
  chosen = plan.to_embed
  todo = [plan.judged[n] for n in chosen]
  source = embedding.PlannedSource(todo, [plan.trees[n] for n in chosen])
  unreadable: list[tuple[str, str]] = []
  added = updated = 0
  with Progress(len(todo), what="images", enabled=progress) as counter:
    embed = functools.partial(
      embedding.embed_by_time, batch_size=batch_size, counter=counter
    )
    for part in embed(encoder, source) if todo else ():
      unreadable += part.failed
      new = [todo[row].status is Status.NEW for row in part.rows]
      new = np.array(new, bool)
      added += _add(store, plan, todo, part.take(new), encoder, metadata)
      updated += _replace(store, plan, todo, part.take(~new), encoder)
  if plan.relabel:
    store.relabel([i for i, _ in plan.relabel], [c for _, c in plan.relabel])
  if todo and len(unreadable) == len(plan.judged):
    raise ValueError(
      f"None of the {len(unreadable)} images can be read; the first,"
      f" {unreadable[0][0]!r}: {unreadable[0][1]}."
    )
  return Ingested(
    num_added=added,
    num_updated=updated,
    num_relabelled=len(plan.relabel),
    unreadable=tuple(unreadable),
  )


def _note_places(store: Store, plan: Plan) -> None:
  """Records where rows that were there already lie now."""
  stay = {e.id for e in plan.judged if e.status is Status.CHANGED}
  moved, _ = store.among([i for i in plan.after if i not in stay])
  if not moved:
    return
  records = store.metadata(moved)
  new = [
    {**record, PICTURE: plan.after[i].to_record()}
    for i, record in zip(moved, records, strict=True)
  ]
  changed = [n for n, record in enumerate(records) if record != new[n]]
  if changed:
    store.annotate([moved[n] for n in changed], [new[n] for n in changed])


def _add(store, plan, todo, part, encoder, metadata) -> int:
  """Adds new rows; how many."""
  if not len(part.rows):
    return 0
  entries = [todo[row] for row in part.rows]
  records = [
    {**(metadata or {}), PICTURE: plan.after[e.id].to_record()} for e in entries
  ]
  store.add(_embedded(entries, part.embeddings, encoder), metadata=records)
  return len(entries)


def _replace(store, plan, todo, part, encoder) -> int:
  """Gives rows the embeddings of their changed files; how many."""
  if not len(part.rows):
    return 0
  entries = [todo[row] for row in part.rows]
  old = store.metadata([e.id for e in entries])
  records = [
    {**record, PICTURE: plan.after[e.id].to_record()}
    for record, e in zip(old, entries, strict=True)
  ]
  rows = _embedded(entries, part.embeddings, encoder)
  store.replace(rows, metadata=records)
  return len(entries)


def _embedded(entries, embeddings, encoder) -> types.EmbeddedSet:
  """Rows of these files, with no class that none of them has."""
  names = sorted({e.class_name for e in entries if e.class_name is not None})
  position = {None: types.UNLABELED, **{n: i for i, n in enumerate(names)}}
  return types.embedded_set(
    embeddings,
    np.array([position[e.class_name] for e in entries], np.int32),
    [e.id for e in entries],
    class_names=names,
    fingerprint=encoder.fingerprint,
  )
