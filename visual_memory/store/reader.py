"""Reading a store: any number of readers, each of which sees one generation."""

import contextlib
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from visual_memory.checks import Ids, as_ids
from visual_memory.store import (
  derived,
  receipts,
  row_edits,
  verification,
  which_rows,
)
from visual_memory.store.errors import StoreError, sentence
from visual_memory.store.receipts import Receipt
from visual_memory.store.storage import (
  generations,
  journal,
  local,
  manifest,
  upkeep,
)
from visual_memory.store.storage.manifest import Manifest
from visual_memory.store.storage.place import Files
from visual_memory.store.storage.state import State
from visual_memory.store.storage.transaction import Transaction
from visual_memory.store.which_rows import Where
from visual_memory.types import EmbeddedSet

if TYPE_CHECKING:
  import jax

  import visual_memory.memory.memory


class StoreReader:
  """The part of a `Store` that changes nothing."""

  def __init__(self, files: Files, *, timeout_s: float = 10.0):
    """A handle on the store in these files; prefer `create` or `open`.

    Args:
      files: where the store is.
      timeout_s: how long an edit waits for another writer's.
    """
    self.handle = Handle(files, timeout_s)

  def __repr__(self) -> str:
    """Where it is, and how much it holds."""
    try:
      of = self.contents
    except (StoreError, OSError) as error:
      return f"{type(self).__name__}({self.path!r}: {sentence(error)})"
    return (
      f"{type(self).__name__}({self.path!r}: {of.num_rows:,} rows,"
      f" {len(of.class_names):,} classes, dimension {of.dim}, encoder"
      f" {of.fingerprint!r}, generation {of.generation:,})"
    )

  @classmethod
  def open(
    cls,
    path: str | os.PathLike | Files,
    *,
    timeout_s: float = 10.0,
  ) -> "StoreReader":
    """The store at a path or URL.

    Args:
      path: a directory or a bucket's URL.
      timeout_s: how long an edit waits for another writer's.

    Raises:
      StoreError: there is none, or it is unfinished or of a later format.
    """
    files = open_files(path)
    generations.current_manifest(files)
    upkeep.tidy(files)
    return cls(files, timeout_s=timeout_s)

  @property
  def contents(self) -> Manifest:
    """What the store holds now: counts, class names, fingerprint, ..."""
    return self.handle.manifest

  @property
  def path(self) -> str:
    """The directory, or the bucket's URL."""
    return repr(self.handle.files)

  @property
  def attributes(self) -> dict[str, Any]:
    """The store's own description, a JSON object: see `Store.describe`."""
    return self.contents.attributes

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
    return self.handle.read(lambda state: state.ids[state.rows])

  @property
  def labels(self) -> np.ndarray:
    """The labels of all rows in order of insertion, int32 [N]."""
    return self.handle.read(lambda state: state.columns["labels"][state.rows])

  def __len__(self) -> int:
    """The number of rows."""
    return self.contents.num_rows

  def embedded(self) -> EmbeddedSet:
    """All rows on the host, in order of insertion."""
    return self.handle.read(
      lambda state: which_rows.embedded(state, state.rows)
    )

  def among(self, ids: Ids) -> tuple[list[str], list[str]]:
    """Those ids that the store holds, and the others, each in their order."""
    ids = as_ids(ids)
    there = self.handle.read(lambda state: state.find_or_none(ids)) >= 0
    return ids[there].tolist(), ids[~there].tolist()

  def metadata(self, ids: Ids) -> list[dict[str, Any]]:
    """The metadata of rows.

    Raises:
      KeyError: names ids that the store does not hold.
    """
    return self.handle.read(
      lambda state: state.metadata(which_rows.find(state, ids))
    )

  def select(
    self,
    *,
    label: int | np.integer | str | None = None,
    where: Where | None = None,
  ) -> np.ndarray:
    """The ids of rows of a class, with some metadata, or both.

    Args:
      label: a class index or name; None is any.
      where: fields that a row's metadata must have with these values, or a
        function of the metadata; None is any.
    """
    return self.handle.read(
      lambda state: state.ids[which_rows.select(state, label, where)]
    )

  def load(
    self,
    *,
    mesh: Optional["jax.sharding.Mesh"] = None,
    capacity: int | None = None,
    precision: str = "auto",
    skip_damaged: bool = False,
  ) -> "visual_memory.memory.memory.VisualMemory":
    """All rows on the devices of a mesh, in order of insertion.

    Every row is checked on its way. Each process keeps the rows of its own
    devices only. They are compared as `Store.whiten` decided.

    Args:
      mesh, capacity, precision: see VisualMemory.from_embedded.
      skip_damaged: leave out rows whose bytes are not what was written.

    Raises:
      StoreDamaged: names the damaged rows.
    """
    from visual_memory.store import loading  # And JAX, only where it is needed.

    return generations.consistently(
      self.handle.files,
      lambda of: loading.load(
        self.handle.copy_at(of),
        mesh=mesh,
        capacity=capacity,
        precision=precision,
        skip_damaged=skip_damaged,
      ),
    )

  def refresh(
    self,
    memory: "visual_memory.memory.memory.VisualMemory",
    *,
    donate: bool = False,
  ) -> "visual_memory.memory.memory.VisualMemory":
    """A memory that was loaded from this store, brought up to date.

    Only rows that changed are read and written, without recompiling.

    Args:
      memory: from `load` or `refresh` of this store.
      donate: see VisualMemory.

    Raises:
      ValueError: the memory was edited in another way than the store.
    """
    from visual_memory.store import refreshing

    # Read first, which may be overtaken by an edit and begin again.
    change = self.handle.read(
      lambda state: refreshing.find_change(memory, state)
    )
    return refreshing.refresh(memory, change, donate=donate)

  def receipts(self) -> list[Receipt]:
    """All removal receipts, oldest first."""
    return receipts.read(self.handle.files, self.contents.trail)

  def verify(self, *, kept: str | None = None) -> verification.Verification:
    """Checks every byte of the store against its checksums, and receipts.

    Args:
      kept: the digest of a receipt that was kept elsewhere: it must be among
        the store's. Nothing else shows that the trail was not cut by someone
        who could also write the manifest.

    Raises:
      StoreDamaged: lists every problem with the place and the remedy.
    """
    return verification.verify(self.handle.files, kept)

  def derived(self, name: str) -> bytes | None:
    """What `put_derived` kept, or None if an edit has come since."""
    return derived.get(self.handle.files, name, self.contents.generation)


def open_files(path: str | os.PathLike | Files) -> Files:
  """The files of a local directory, or of a bucket when path is a URL."""
  if isinstance(path, Files):
    return path
  path = os.fspath(path)
  if "://" in path:
    from visual_memory.store.storage import remote  # TensorStore takes a while.

    return remote.RemoteFiles(path)
  return local.LocalFiles(path)


class Handle:
  """Reads and edits the store in some files; safe to call from threads.

  It pickles as the place alone: whoever unpickles it reads for itself.
  """

  def __init__(self, files: Files, timeout_s: float):
    """A handle that has read nothing yet.

    Args:
      files: where the store is.
      timeout_s: how long an edit waits for another writer's.
    """
    self.files = files
    self._timeout_s = timeout_s
    self._mutex = threading.RLock()
    self._state: State | None = None

  def __reduce__(self):
    """The place, and no lock."""
    return Handle, (self.files, self._timeout_s)

  @property
  def manifest(self) -> Manifest:
    """What the store holds now."""
    return generations.current_manifest(self.files)

  def read(self, look: Callable[[State], Any]) -> Any:
    """What `look` makes of one generation."""
    with self._mutex:

      def read_at(of: Manifest) -> Any:
        self._state = self._at(of)
        return look(self._state)

      return generations.consistently(self.files, read_at)

  def copy_at(self, of: Manifest) -> State:
    """The state of a manifest, which stays as it is."""
    with self._mutex:
      self._state = self._at(of)
      return self._state.copy()

  def _at(self, of: Manifest) -> State:
    """The state of a manifest, from the one at hand where nothing changed."""
    state = self._state
    if state is None or not state.fits(of):
      return State(self.files, of)
    if state.manifest != of:
      self._state = None  # Unless it gets there.
      state.move_to(of)
    return state

  @contextlib.contextmanager
  def editing(self):
    """A transaction on the newest generation, with the writer's lock held."""
    with self._mutex, self.files.writer_lock(self._timeout_s):
      try:
        journal.recover(self.files)
        if self._state is None or self._state.source != self.files.read(
          manifest.KEY
        ):
          self._state = self._at(generations.current_manifest(self.files))
        if self._state.manifest.version < manifest.FORMAT:
          row_edits.upgrade(Transaction(self._state))
        yield Transaction(self._state)
      except (KeyError, ValueError, TypeError):
        raise  # Refused before anything was written.
      except BaseException:
        self._state = None  # It may or may not be committed: read it again.
        raise
