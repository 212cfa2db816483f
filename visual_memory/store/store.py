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

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory import direct_files
from visual_memory.memory import matching
from visual_memory.store import (
  creation,
  derived,
  receipts,
  row_edits,
  which_rows,
)
from visual_memory.store.errors import StoreDamaged, StoreError
from visual_memory.store.metadata import Metadata, check_object
from visual_memory.store.reader import StoreReader, open_files
from visual_memory.store.receipts import Receipt
from visual_memory.store.storage import journal, local
from visual_memory.store.storage.manifest import Manifest, Trail
from visual_memory.store.storage.place import Files
from visual_memory.store.which_rows import Where
from visual_memory.types import EmbeddedSet, Ids

REBUILD = ".rebuild"
"""Follows the name of a store that is made anew, beside it: see rebuild.py."""

UNFINISHED = {"unfinished": True}
"""The description of such a store until it is in the other's place."""

_MOVED_AT_ONCE = 1 << 12


class Store(StoreReader):
  """A durable memory; make one with `create` or `open`."""

  @classmethod
  def create(
    cls,
    path: str | os.PathLike | Files,
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
      rows_per_chunk: rows in a chunk, a power of two; by default about 32 MiB
        of embeddings, at most what the rows need.

    Raises:
      StoreError: there is something at the path already.
      ValueError: rows that are not finite and unit, repeated ids, labels out
        of range, metadata that is no JSON object.
    """
    files = open_files(path)
    creation.create(
      files,
      embedded,
      metadata=metadata,
      attributes=attributes,
      chunk_rows=rows_per_chunk,
    )
    direct_files.release()  # Fifty bytes a row, which a memory may need next.
    return cls(files)

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
    with self.handle.editing() as edit:
      slots, ids = row_edits.add(edit, embedded, metadata)
      edit.commit()
      edit.state.remember(slots, ids)

  def replace(
    self, embedded: EmbeddedSet, *, metadata: Metadata = None
  ) -> None:
    """Overwrites rows that are there, by their ids, in one edit.

    Embeddings, labels and metadata are the new ones; nothing of the old is in
    any file when this returns. The rows count as inserted last.

    Args:
      embedded: the rows as they are to be.
      metadata: a JSON object for all of them, or one for each.

    Raises:
      KeyError: ids that the store does not hold.
      ValueError: as `add`.
    """
    with self.handle.editing() as edit:
      slots = which_rows.find_distinct(edit.state, embedded.ids)
      if len(slots):
        row_edits.replace(edit, slots, embedded, metadata)
        edit.commit()

  def remove(
    self,
    ids: Ids | None = None,
    *,
    label: int | np.integer | str | None = None,
    where: Where | None = None,
    key_file: str | os.PathLike | None = None,
    known_as: Sequence[str] = (),
  ) -> Receipt | None:
    """Removes rows for real; nothing of them is in any file when this returns.

    Args:
      ids: the rows; or leave it out and choose by
      label: a class index or name (the class name itself stays: see
        `rename_class`), and/or
      where: metadata (see `select`).
      key_file: an Ed25519 private key (PEM) to sign the receipt with.
      known_as: further names of what is removed, for the receipt to know it
        by; they are hashed like the ids.

    Returns:
      The receipt, which is also kept in the store; None for an empty list of
      ids, which is nothing to do.

    Raises:
      KeyError: names ids that the store does not hold; nothing is removed.
      ValueError: an id given twice, or label and where chose no row.
      OSError: the disk is full; the store is as it was.
    """
    if key_file is not None:
      receipts.read_key(key_file)  # Before anything is removed.
    with self.handle.editing() as edit:
      state = edit.state
      if ids is not None and (label is not None or where is not None):
        raise ValueError("Give ids, or label and where, but not both.")
      if ids is None:
        slots = np.sort(which_rows.select(state, label, where))
      else:
        slots = np.sort(which_rows.find_distinct(state, ids))
      if not len(slots):
        if ids is not None:
          return None
        raise ValueError("No row of the store was chosen: nothing to remove.")
      removed = state.read_ids(slots)
      _forget(self._beside(), removed)
      row_edits.remove(edit, slots)
      made = []

      def receipt(new: Manifest) -> tuple[bytes, Trail]:
        made.append(
          receipts.issue(state.manifest, new, removed, key_file, known_as)
        )
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
    with self.handle.editing() as edit:
      row_edits.relabel(edit, which_rows.find_distinct(edit.state, ids), labels)
      edit.commit()

  def annotate(self, ids: Ids, metadata: Metadata) -> None:
    """Replaces the metadata of rows; the old is erased.

    Raises:
      KeyError: ids that the store does not hold.
      ValueError: an id given twice, or metadata that is no JSON object.
    """
    with self.handle.editing() as edit:
      ids = matching.distinct_ids(ids)
      slots = which_rows.find(edit.state, ids)
      row_edits.annotate(edit, slots, ids, metadata)
      _forget(self._beside(), ids.tolist())  # It makes them again.
      edit.commit()

  def rename_class(self, old: str, new: str) -> None:
    """Gives a class another name; the old name is erased.

    Raises:
      ValueError: no class `old`, or there is a class `new` already.
    """
    with self.handle.editing() as edit:
      row_edits.rename_class(edit, old, new)
      beside = self._beside()
      if beside is not None and old in beside.class_names:
        beside.rename_class(old, new)
      edit.commit()

  def merge_classes(self, names: Sequence[str], into: str) -> None:
    """Gives all rows of some classes the label of another (may be new).

    The emptied classes keep their names and indices: no label changes its
    meaning.

    Raises:
      ValueError: a name in `names` that is no class.
    """
    with self.handle.editing() as edit:
      row_edits.merge_classes(edit, names, into)
      edit.commit()

  def compact(self) -> None:
    """Gives back the space of removed rows and of their text.

    It is a sequence of edits that each leave the store with the same rows.
    """
    moved = 1
    while moved:
      with self.handle.editing() as edit:
        if moved := row_edits.fill_holes(edit, _MOVED_AT_ONCE):
          edit.commit()
          edit.state.drop_ids()
    with self.handle.editing() as edit:
      if row_edits.pack_text(edit):
        edit.commit()

  def describe(self, attributes: Mapping[str, Any]) -> None:
    """Replaces the store's own description, a JSON object.

    Raises:
      ValueError: attributes that cannot be written as JSON.
    """
    # As the file has it: a tuple would differ from what is read again.
    told = json.loads(check_object(attributes, "The store's description"))
    with self.handle.editing() as edit:
      edit.set(attributes=told)
      if beside := self._beside():
        beside.describe(UNFINISHED)
      edit.commit()

  def whiten(self, ridge: float | int | None = 1.0) -> None:
    """Decides that memories of the store compare rows whitened, or as they are.

    `load` and `refresh` follow it: see `VisualMemory.whitened`. The rows in the
    store stay as they are, and no statistic of them is kept.

    Args:
      ridge: 1e-4 to 1e4, in units of the rows' mean variance; None for not.

    Raises:
      ValueError: a ridge that is none.
    """
    from visual_memory.memory import whitening  # These bring JAX with them.
    from visual_memory.store import loading

    if ridge is not None:
      ridge = whitening.check_ridge(ridge)
    with self.handle.editing() as edit:
      attributes = dict(edit.state.manifest.attributes)
      attributes.pop(loading.WHITENING, None)
      if ridge is not None:
        attributes[loading.WHITENING] = ridge
      edit.set(attributes=attributes)
      edit.commit()

  def put_derived(self, name: str, data: bytes, *, generation: int) -> None:
    """Keeps something computed from the rows beside them, in `derived/`.

    Whatever is kept so is erased by the next edit: it could remember rows
    that are gone.

    Args:
      name: a file name.
      data: its content; `derived.pack` makes it of a folder.
      generation: of the `contents` whose rows it was computed from.

    Raises:
      StoreError: the store has been edited since.
      ValueError: a name that is no file name.
    """
    with self.handle.editing() as edit:
      current = edit.state.manifest.generation
      derived.put(
        self.handle.files, name, data, made_from=generation, current=current
      )

  def _beside(self) -> "Store | None":
    """The store that is being built to follow this one: see rebuild.py.

    What an edit erases here must be erased there, too.

    Raises:
      StoreError: there is one, and it cannot be opened.
    """
    files = self.handle.files
    if not isinstance(files, local.LocalFiles):
      return None
    beside = local.LocalFiles(files.root + REBUILD)
    if not os.path.isdir(beside.root) or not journal.exists(beside):
      return None  # Nothing, or something else of that name.
    try:
      found = Store.open(beside)
    except StoreDamaged as error:
      raise StoreError(
        f"{beside.root} is a half-done rebuild that cannot be opened, and might"
        f" hold what is to be erased: delete it. ({error.problems[0]})"
      ) from error
    except StoreError:
      return None  # It holds no rows yet.
    same = found.contents.store_id == self.contents.store_id
    return found if same else None


def _forget(beside: Store | None, ids: Sequence[str]) -> None:
  """Removes those of the rows that a store holds."""
  if beside is not None:
    beside.remove(sorted(set(beside.ids.tolist()).intersection(ids)))
