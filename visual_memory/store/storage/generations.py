"""Reading a generation of a store, whole, whatever a writer does meanwhile."""

from collections.abc import Callable
from typing import TypeVar

from visual_memory.store.errors import StoreDamaged, StoreError, StoreLocked
from visual_memory.store.storage import journal, manifest
from visual_memory.store.storage.place import Files
from visual_memory.store.storage.state import State

T = TypeVar("T")
_ATTEMPTS = 3
_MOST_MANIFEST_BYTES = 1 << 30
_LOCK_TIMEOUT_S = 10.0


def read_state(files: Files, of: manifest.Manifest) -> State:
  """The generation of a manifest, with all of its columns.

  Raises:
    StoreDamaged: names all chunks that are not what the manifest says.
  """
  state = State(files, of)
  state.columns.hold()
  return state


def current_manifest(files: Files) -> manifest.Manifest:
  """The manifest, after finishing an edit whose process died.

  Raises:
    StoreError: there is no store, or an unfinished edit cannot be finished.
  """
  while True:
    with files.gate(shared=True):
      if journal.pending(files) is None:
        return _manifest(files)
    with files.writer_lock(_LOCK_TIMEOUT_S):
      journal.recover(files)


def manifest_or_none(files: Files) -> manifest.Manifest | None:
  """The manifest, whatever the journal holds; None before there is one."""
  data = files.read(manifest.KEY, length=_MOST_MANIFEST_BYTES)
  return manifest.from_bytes(data) if data.strip(b"\0") else None


def check_current(files: Files, old: manifest.Manifest) -> None:
  """Checks that the store is still the one writer's, at this generation.

  Raises:
    StoreLocked: another writer has the lock, or has edited the store.
  """
  files.confirm_lock()
  found = manifest_or_none(files)
  if found != (old if old.generation else None):
    raise StoreLocked(
      f"Another writer has edited the store {files!r} during an edit, which"
      " was given up before it changed anything: make it again."
    )


def _manifest(files: Files) -> manifest.Manifest:
  found = manifest_or_none(files)
  if found is not None:
    return found
  if files.keys(""):
    raise StoreError(
      f"{files!r} has no {manifest.KEY}: its creation was interrupted, or it"
      " is no store. Delete it, or create the store again."
    )
  raise StoreError(
    f"There is no store at {files!r}: create one with Store.create."
  )


def consistently(files: Files, read: Callable[[manifest.Manifest], T]) -> T:
  """What `read` returns for one generation, however many edits go on.

  It is tried freely first; if edits keep overtaking it, they are held back.

  Raises:
    StoreDamaged: the bytes stay wrong without any edit.
  """
  for _ in range(_ATTEMPTS):
    tried = current_manifest(files)
    try:
      return read(tried)
    except StoreDamaged:
      if current_manifest(files) == tried:
        raise
  with files.gate(shared=True):
    return read(_manifest(files))
