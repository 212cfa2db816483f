"""A store's rows made anew by another encoder, beside it, then in its place.

The new store grows in the directory PATH.rebuild while the old one answers and
may be edited. When both hold the same rows they change places at once, and the
old one is deleted. A stopped rebuild continues when it is started again.
"""

import ctypes
import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from visual_memory import types
from visual_memory.collection import embedding, ingest
from visual_memory.collection.provenance import Pictures, Provenance, provenance
from visual_memory.data import image_source
from visual_memory.encoders.encoder import Encoder
from visual_memory.progress import Progress
from visual_memory.store import creation
from visual_memory.store.errors import StoreError
from visual_memory.store.reader import open_files
from visual_memory.store.storage import journal, keys
from visual_memory.store.storage.keys import RECEIPTS
from visual_memory.store.storage.local import LocalFiles
from visual_memory.store.storage.manifest import Manifest
from visual_memory.store.store import REBUILD, UNFINISHED, Store

_EXCHANGE = 2  # RENAME_EXCHANGE of Linux's renameat2(2)
_AT_FDCWD = -100
_LOCK_TIMEOUT_S = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wanted:
  """What the old store holds at one generation."""

  generation: int
  next_serial: int
  class_names: tuple[str, ...]
  rows: dict[str, tuple[str | None, Mapping[str, Any]]]


class _Recorded(image_source.Unlabeled):
  """Rows whose pictures are where they were found: an ImageSource."""

  def __init__(
    self,
    pictures: Pictures,
    ids: list[str],
    records: list[Mapping[str, Any]],
  ):
    """Nothing is read before it is asked for."""
    super().__init__(ids, fingerprint="recorded")
    self._pictures, self._records = pictures, records

  def __getitem__(self, row) -> types.Example:
    """The picture of this row; UnreadableImage if it is not there."""
    row_id = self.ids[row]
    image = self._pictures.read(row_id, self._records[row])
    return types.Example(image=image, label=types.UNLABELED, id=row_id)


def rebuild(
  path: str | os.PathLike,
  encoder: Encoder,
  arguments: Mapping[str, Any],
  *,
  drop_missing: bool | Callable[[int, int], bool] = False,
  batch_size: int | None = None,
  progress: bool = True,
) -> tuple[tuple[str, str], ...]:
  """Embeds a store's rows again and puts the result in its place.

  Ids, labels, metadata, order and receipts stay as they are.

  Args:
    path: of the store, a local directory.
    encoder: makes the new rows.
    arguments: those of `load_encoder` that gave it, plain JSON values.
    drop_missing: leave out rows whose images cannot be read any more; a
      function of their number and that of all rows says whether.
    batch_size: see `embed`.
    progress: print progress to standard error.

  Returns:
    The rows that were left out: (id, why).

  Raises:
    StoreError: the store does not know its sources, is not local, or images
      are missing; the old store is as it was.
  """
  old = Store.open(path)
  if not isinstance(old.handle.files, LocalFiles):
    raise StoreError(
      f"{path} is a bucket: rebuild works in a local directory. Copy the"
      " store there, rebuild it, and copy it back."
    )
  found = provenance(old)
  new = _beside(old, encoder)
  lost: dict[str, str] = {}
  while True:
    wanted = _snapshot(old)
    missing = _catch_up(
      old, new, wanted, encoder, found, batch_size=batch_size, progress=progress
    )
    lost.update(missing)
    drop = drop_missing
    if missing and callable(drop):
      drop = drop_missing = drop(len(missing), len(wanted.rows))
    if missing and not drop:
      row_id, reason = next(iter(missing.items()))
      raise StoreError(
        f"{len(missing)} images cannot be read, the first of them {row_id!r}:"
        f" {reason}. Bring them back, or leave these rows out with"
        " --drop-missing. The memory is as it was."
      )
    with old.handle.files.writer_lock(_LOCK_TIMEOUT_S):
      if old.contents.generation == wanted.generation:
        _switch(old, new, found, encoder, arguments)
        return tuple((i, why) for i, why in lost.items() if i in wanted.rows)


def _beside(old: Store, encoder: Encoder) -> Store:
  """The new store as far as it is; begun again if it is another's.

  Raises:
    StoreError: there is something else of its name, which stays as it is.
  """
  path, of = old.path + REBUILD, old.contents
  if os.path.lexists(path):
    new = _half_done(path, of)
    same = new is not None and new.fingerprint == encoder.fingerprint
    if same and new.class_names == of.class_names[: len(new.class_names)]:
      return new
    shutil.rmtree(path)
  empty = types.embedded_set(
    np.zeros((0, encoder.dim), np.float32),
    np.zeros(0, np.int32),
    [],
    class_names=of.class_names,
    fingerprint=encoder.fingerprint,
  )
  creation.create(
    open_files(path),
    empty,
    metadata=None,
    attributes=UNFINISHED,
    chunk_rows=ingest.rows_per_chunk(len(old), encoder.dim),
    successor_of=of,
  )
  return Store.open(path)


def _half_done(path: str, of: Manifest) -> Store | None:
  """The rebuild of a store that is at a path; None if it had only begun.

  Raises:
    StoreError: what is there is no rebuild of it.
  """
  foreign = StoreError(
    f"{path} is no half-done rebuild of this memory, and stands where one would"
    " be: move it elsewhere. The memory is as it was."
  )
  if os.path.islink(path) or not os.path.isdir(path):
    raise foreign
  files = LocalFiles(path)
  try:
    new = Store.open(files)
  except StoreError:
    begun = journal.exists(files) or not files.every_key()
    if begun and all(keys.could_be(key) for key in files.every_key()):
      return None  # Its creation was interrupted.
    raise foreign from None
  if new.contents.store_id != of.store_id:
    raise foreign
  return new


def _snapshot(store: Store) -> _Wanted:
  """What a store holds now."""

  def read(state) -> _Wanted:
    of, rows = state.manifest, state.rows
    names = (*of.class_names, None)
    held = zip(
      state.ids[rows].tolist(),
      state.columns["labels"][rows].tolist(),
      state.metadata(rows),
      strict=True,
    )
    return _Wanted(
      generation=of.generation,
      next_serial=of.next_serial,
      class_names=of.class_names,
      rows={row_id: (names[label], record) for row_id, label, record in held},
    )

  return store.handle.read(read)


def _catch_up(
  old: Store,
  new: Store,
  wanted: _Wanted,
  encoder: Encoder,
  found: Provenance,
  *,
  batch_size: int | None,
  progress: bool,
) -> dict[str, str]:
  """Makes the new store hold what is wanted; the images that are missing."""
  held = _snapshot(new).rows
  if gone := [row_id for row_id in held if row_id not in wanted.rows]:
    new.remove(gone)
  with new.handle.editing() as edit:
    # Serials after those of all receipts: see verification.py.
    later = max(edit.manifest.next_serial, wanted.next_serial)
    edit.set(class_names=wanted.class_names, next_serial=later)
    edit.commit()
  differing = [i for i, row in wanted.rows.items() if held.get(i, row) != row]
  if differing:
    names = [wanted.rows[i][0] for i in differing]
    new.relabel(differing, [types.UNLABELED if n is None else n for n in names])
    new.annotate(differing, [wanted.rows[i][1] for i in differing])
  todo = [row_id for row_id in wanted.rows if row_id not in held]
  source = _Recorded(
    Pictures(found.origins), todo, [wanted.rows[i][1] for i in todo]
  )
  failed = {}
  with Progress(len(todo), what="images", enabled=progress) as counter:
    for part in embedding.embed_by_time(
      encoder, source, batch_size=batch_size, counter=counter
    ):
      failed.update(part.failed)
      if len(part.rows):
        _add(old, new, source.ids[part.rows], part.embeddings, wanted)
  return failed


def _add(
  old: Store,
  new: Store,
  ids: np.ndarray,
  embeddings: np.ndarray,
  wanted: _Wanted,
) -> None:
  """Adds rows that have not been removed meanwhile, nor can be meanwhile."""
  position = {name: i for i, name in enumerate(wanted.class_names)}
  labels = [position.get(wanted.rows[i][0], types.UNLABELED) for i in ids]
  embedded = types.embedded_set(
    embeddings,
    np.array(labels, np.int32),
    ids,
    class_names=wanted.class_names,
    fingerprint=new.fingerprint,
  )
  with old.handle.files.writer_lock(_LOCK_TIMEOUT_S):
    left = set(old.ids.tolist())
    embedded = embedded.take(np.array([i in left for i in embedded.ids], bool))
    new.add(embedded, metadata=[wanted.rows[i][1] for i in embedded.ids])


def _switch(
  old: Store,
  new: Store,
  found: Provenance,
  encoder: Encoder,
  arguments: Mapping[str, Any],
) -> None:
  """Puts the new store in the old one's place; nobody may edit either."""
  of = old.contents
  about = dataclasses.replace(
    found, encoder=arguments, preprocess=encoder.preprocess.to_dict()
  )
  receipts = old.handle.files.read(RECEIPTS)
  if receipts:
    new.handle.files.create(RECEIPTS, receipts)
  with new.handle.editing() as edit:
    generation = max(edit.manifest.generation, of.generation + 1)
    edit.set(
      attributes=about.to_attributes(), generation=generation, trail=of.trail
    )
    edit.commit()
  new.verify()
  exchange(new.handle.files.root, old.handle.files.root)
  shutil.rmtree(new.handle.files.root)  # The old one is there now.


def exchange(one: str, other: str) -> None:
  """Makes two directories of a file system change places, at once on Linux."""
  try:
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    names = os.fsencode(one), os.fsencode(other)
    if not renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE):
      _sync_parent(other)
      return
  except (AttributeError, OSError):
    pass  # Another system: three renames, which a crash may separate.
  os.rename(other, other + ".old")
  os.rename(one, other)
  os.rename(other + ".old", one)
  _sync_parent(other)


def _sync_parent(path: str) -> None:
  """Makes the names in a path's directory durable."""
  folder = os.open(os.path.dirname(path), os.O_RDONLY)
  try:
    os.fsync(folder)
  finally:
    os.close(folder)
