"""One process's hold on a store: what it has read, and its turn to write."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from visual_memory.store import row_edits
from visual_memory.store.storage import generations, journal, manifest
from visual_memory.store.storage.manifest import Manifest
from visual_memory.store.storage.place import Files
from visual_memory.store.storage.state import State
from visual_memory.store.storage.transaction import Transaction


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
