"""A memory on disk: durable, edited in place, removable for real.

  store = Store.create("memory_dir", embedded)
  store.add(more, metadata={"license": "CC-BY-4.0"})
  receipt = store.remove(["cat/3.jpg"])        # erased when this returns
  store.verify()                               # raises if a byte is wrong
  memory = store.load()                        # a VisualMemory

A store is a directory (or a bucket's URL) of zarr v3 arrays, described in
storage/arrays.py, and a manifest. Every edit is atomic and durable: whatever
kills the process, the store opens as it was before the edit or after it. There
is one writer at a time, and any number of readers, which always see one
generation.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from visual_memory.memory import (
  creation,
  loading,
  receipts,
  row_edits,
  selection,
  verification,
)
from visual_memory.memory.memory import VisualMemory
from visual_memory.memory.receipts import Receipt
from visual_memory.memory.row_edits import Metadata
from visual_memory.memory.selection import Where
from visual_memory.memory.storage import files as files_lib
from visual_memory.memory.storage import (
  generations,
  journal,
  manifest,
  transaction,
  upkeep,
)
from visual_memory.memory.storage.files import StoreError
from visual_memory.memory.storage.manifest import Manifest, Trail
from visual_memory.memory.storage.state import State
from visual_memory.memory.storage.transaction import Transaction
from visual_memory.types import EmbeddedSet, Ids

_MOVED_AT_ONCE = 1 << 12


class Store:
  """A durable memory; make one with `create` or `open`."""

  def __init__(self, files: files_lib.Files, *, timeout_s: float = 10.0):
    """A handle on the store in these files; prefer `create` or `open`.

    Args:
      files: where the store is.
      timeout_s: how long an edit waits for another writer's.
    """
    self.files = files
    self._timeout_s = timeout_s
    self._mutex = threading.RLock()
    self._state: State | None = None

  @classmethod
  def create(
    cls,
    path: str | os.PathLike | files_lib.Files,
    embedded: EmbeddedSet,
    *,
    metadata: Metadata = None,
    attributes: Mapping[str, Any] | None = None,
    rows_per_chunk: int | None = None,
  ) -> "Store":
    """A new store of these rows; it exists once all of them are durable.

    In a run of several processes call it in all of them, with the same rows:
    each writes its share of the chunks.

    Args:
      path: a directory that is absent or empty, or a bucket's URL.
      embedded: the rows; may be empty (its dimension and fingerprint count).
      metadata: a JSON object for all rows, or one for each.
      attributes: a JSON object about the store (encoder, preprocessing, ...).
      rows_per_chunk: rows in a chunk, a power of two; by default about 8 MiB
        of embeddings, at most what the rows need.

    Raises:
      StoreError: there is something at the path already.
      ValueError: rows that are not finite and unit, repeated ids, labels out
        of range, metadata that is no JSON object.
    """
    files = files_lib.open_files(path)
    creation.create(
      files,
      embedded,
      metadata=metadata,
      attributes=attributes,
      rows_per_chunk=rows_per_chunk,
    )
    return cls(files)

  @classmethod
  def open(
    cls,
    path: str | os.PathLike | files_lib.Files,
    *,
    timeout_s: float = 10.0,
  ) -> "Store":
    """The store at a path or URL.

    Args:
      path: a directory or a bucket's URL.
      timeout_s: how long an edit waits for another writer's.

    Raises:
      StoreError: there is none, or it is unfinished or of a later format.
    """
    files = files_lib.open_files(path)
    generations.current_manifest(files)
    upkeep.tidy(files)
    return cls(files, timeout_s=timeout_s)

  @property
  def contents(self) -> Manifest:
    """What the store holds now: counts, class names, fingerprint, ..."""
    return generations.current_manifest(self.files)

  @property
  def class_names(self) -> tuple[str, ...]:
    """The name of each label."""
    return self.contents.class_names

  @property
  def fingerprint(self) -> str:
    """The fingerprint of the encoder of every row."""
    return self.contents.fingerprint

  @property
  def ids(self) -> np.ndarray:
    """The ids of all rows in order of insertion (object array)."""
    return self._read(lambda state: state.ids[state.rows])

  @property
  def labels(self) -> np.ndarray:
    """The labels of all rows in order of insertion, int32 [N]."""
    return self._read(lambda state: state.columns["labels"][state.rows])

  def __len__(self) -> int:
    """The number of rows."""
    return self.contents.num_rows

  def embedded(self) -> EmbeddedSet:
    """All rows on the host, in order of insertion."""
    return self._read(loading.embedded)

  def metadata(self, ids: Ids) -> list[dict[str, Any]]:
    """The metadata of rows.

    Raises:
      KeyError: names ids that the store does not hold.
    """
    return self._read(lambda state: state.metadata(state.find(ids)))

  def select(
    self, *, label: int | str | None = None, where: Where | None = None
  ) -> np.ndarray:
    """The ids of rows of a class, with some metadata, or both.

    Args:
      label: a class index or name; None is any.
      where: fields that a row's metadata must have with these values, or a
        function of the metadata; None is any.
    """
    return self._read(
      lambda state: state.ids[selection.select(state, label, where)]
    )

  def load(
    self,
    *,
    mesh: Mesh | None = None,
    capacity: int | None = None,
    precision: str = "float32",
    skip_damaged: bool = False,
  ) -> VisualMemory:
    """All rows on the devices of a mesh, in order of insertion.

    Every row is checked on its way. Each process keeps the rows of its own
    devices only.

    Args:
      mesh, capacity, precision: see VisualMemory.from_embedded.
      skip_damaged: leave out rows whose bytes are not what was written.

    Raises:
      StoreDamaged: names the damaged rows.
    """
    return generations.consistently(
      self.files,
      lambda of: loading.load(
        self._at(of).copy(),
        mesh=mesh,
        capacity=capacity,
        precision=precision,
        skip_damaged=skip_damaged,
      ),
    )

  def refresh(
    self, memory: VisualMemory, *, donate: bool = False
  ) -> VisualMemory:
    """A memory that was loaded from this store, brought up to date.

    Only rows that changed are read and written, without recompiling.

    Args:
      memory: from `load` or `refresh` of this store.
      donate: see VisualMemory.

    Raises:
      ValueError: the memory was edited in another way than the store.
    """
    # Read first, which may be overtaken by an edit and begin again.
    change = self._read(lambda state: loading.find_change(memory, state))
    return loading.refresh(memory, change, donate=donate)

  def add(self, embedded: EmbeddedSet, *, metadata: Metadata = None) -> None:
    """Adds rows; they are durable when this returns.

    Classes are matched by name; unknown names become new classes at the end.

    Args:
      embedded: the rows.
      metadata: a JSON object for all of them, or one for each.

    Raises:
      ValueError: another encoder's fingerprint or dimension, an id that the
        store already holds, or a row that is not finite and unit.
      OSError: the disk is full; the store is as it was.
    """
    with self._editing() as edit:
      slots, ids = row_edits.add(edit, embedded, metadata)
      if len(slots):
        edit.commit()
        edit.state.remember(slots, ids)

  def remove(
    self,
    ids: Ids | None = None,
    *,
    label: int | str | None = None,
    where: Where | None = None,
    key_file: str | os.PathLike | None = None,
  ) -> Receipt:
    """Removes rows for real; nothing of them is in any file when this returns.

    Args:
      ids: the rows; or leave it out and choose by
      label: a class index or name (the class name itself stays: see
        `rename_class`), and/or
      where: metadata (see `select`).
      key_file: an Ed25519 private key (PEM) to sign the receipt with.

    Returns:
      The receipt, which is also kept in the store.

    Raises:
      KeyError: names ids that the store does not hold; nothing is removed.
      ValueError: an id given twice, or nothing was chosen.
      OSError: the disk is full; the store is as it was.
    """
    with self._editing() as edit:
      state = edit.state
      if ids is not None and (label is not None or where is not None):
        raise ValueError("Give ids, or label and where, but not both.")
      if ids is None:
        slots = np.sort(selection.select(state, label, where))
      else:
        slots = np.sort(selection.find_distinct(state, ids))
      if not len(slots):
        raise ValueError("No row of the store was chosen: nothing to remove.")
      removed = state.ids[slots].tolist()
      row_edits.remove(edit, slots)
      made = []

      def receipt(new: Manifest) -> tuple[bytes, Trail]:
        made.append(receipts.issue(state.manifest, new, removed, key_file))
        return receipts.appended(new.trail, made[0])

      edit.commit(receipt=receipt)
      state.forget(slots)
      return made[0]

  def relabel(self, ids: Ids, labels: Sequence[int | str] | np.ndarray) -> None:
    """Gives rows new labels (class indices, or names: unknown ones are new).

    Raises:
      KeyError: ids that the store does not hold.
      ValueError: an id given twice, or a label out of range.
    """
    with self._editing() as edit:
      row_edits.relabel(edit, selection.find_distinct(edit.state, ids), labels)
      edit.commit()

  def annotate(self, ids: Ids, metadata: Metadata) -> None:
    """Replaces the metadata of rows; the old is erased.

    Raises:
      KeyError: ids that the store does not hold.
      ValueError: an id given twice, or metadata that is no JSON object.
    """
    with self._editing() as edit:
      row_edits.annotate(
        edit, selection.find_distinct(edit.state, ids), ids, metadata
      )
      edit.commit()

  def rename_class(self, old: str, new: str) -> None:
    """Gives a class another name; the old name is erased.

    Raises:
      ValueError: no class `old`, or there is a class `new` already.
    """
    with self._editing() as edit:
      row_edits.rename_class(edit, old, new)
      edit.commit()

  def merge_classes(self, names: Sequence[str], into: str) -> None:
    """Gives all rows of some classes the label of another (may be new).

    The emptied classes keep their names and indices: no label changes its
    meaning.

    Raises:
      ValueError: a name in `names` that is no class.
    """
    with self._editing() as edit:
      row_edits.merge_classes(edit, names, into)
      edit.commit()

  def compact(self) -> None:
    """Gives back the space of removed rows and of their text.

    It is a sequence of edits that each leave the store with the same rows.
    """
    moved = 1
    while moved:
      with self._editing() as edit:
        if moved := row_edits.fill_holes(edit, _MOVED_AT_ONCE):
          edit.commit()
          edit.state.drop_ids()
    with self._editing() as edit:
      if row_edits.pack_text(edit):
        edit.commit()

  def receipts(self) -> list[Receipt]:
    """All removal receipts, oldest first."""
    return receipts.read(self.files, self.contents.trail)

  def verify(self) -> verification.Verification:
    """Checks every byte of the store against its checksums, and receipts.

    Raises:
      StoreDamaged: lists every problem with the place and the remedy.
    """
    return verification.verify(self.files)

  def put_derived(self, name: str, data: bytes, *, generation: int) -> None:
    """Keeps something computed from the rows beside them.

    Whatever is kept so is erased by the next edit: it could remember rows
    that are gone.

    Args:
      name: a file name.
      data: its content.
      generation: of the manifest whose rows it was computed from.

    Raises:
      StoreError: the store has been edited since.
    """
    with self._editing() as edit:
      if edit.state.manifest.generation != generation:
        raise StoreError(
          f"{name!r} was computed from generation {generation}, but the store"
          f" is at {edit.state.manifest.generation}: compute it again."
        )
      self.files.create(f"{transaction.DERIVED}/{name}", data)

  def derived(self, name: str) -> bytes | None:
    """What `put_derived` kept, or None if an edit has come since."""
    return self.files.read(f"{transaction.DERIVED}/{name}") or None

  @contextlib.contextmanager
  def _editing(self):
    """A transaction on the newest generation, with the writer's lock held."""
    with self._mutex, self.files.writer_lock(self._timeout_s):
      try:
        journal.recover(self.files)
        if self._state is None or self._state.source != self.files.read(
          manifest.KEY
        ):
          self._state = self._at(generations.current_manifest(self.files))
        yield Transaction(self._state)
      except (KeyError, ValueError):
        raise  # Refused before anything was written.
      except BaseException:
        self._state = None  # It may or may not be committed: read it again.
        raise

  def _read(self, read: Callable[[State], Any]) -> Any:
    """What `read` makes of one generation."""
    with self._mutex:

      def read_at(of: Manifest) -> Any:
        self._state = self._at(of)
        return read(self._state)

      return generations.consistently(self.files, read_at)

  def _at(self, of: Manifest) -> State:
    """The state of a manifest, from the one at hand where nothing changed."""
    old = self._state
    if old is not None and old.manifest.store_id != of.store_id:
      old = None
    if old is not None and old.manifest == of:
      return old
    return generations.read_state(self.files, of, old)
