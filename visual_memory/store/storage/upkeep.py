"""Making the arrays of a store, and erasing files that no generation knows."""

from visual_memory.store.errors import StoreError
from visual_memory.store.storage import arrays, journal, keys, manifest
from visual_memory.store.storage.generations import current_manifest
from visual_memory.store.storage.place import Files


def create_arrays(files: Files, empty: manifest.Manifest) -> None:
  """The files of a store without rows, all but its manifest."""
  journal.create(files)
  files.create(keys.RECEIPTS, bytes(keys.RECEIPTS_BYTES))
  for key, data in empty.metadata_files().items():
    files.create(key, data)


def erase_chunks(files: Files) -> None:
  """Erases every chunk of an unfinished store."""
  for name in arrays.ARRAYS:
    for key in filter(keys.chunk_of, files.keys(name)):
      files.erase(key)


def tidy(files: Files) -> None:
  """Erases what an edit that was never committed has left behind.

  Not while another edit is going on, nor where this user may not write.
  """
  try:
    with files.writer_lock(0.0):
      journal.recover(files)
      erase_unknown(files, current_manifest(files))
  except StoreError:
    return


def leftovers(files: Files, known: manifest.Manifest) -> list[str]:
  """The chunk files that a manifest does not know."""
  return [
    key
    for name in arrays.ARRAYS
    for key in files.keys(name)
    if keys.chunk_of(key) and keys.most_bytes(key, known) is None
  ]


def erase_unknown(files: Files, known: manifest.Manifest) -> None:
  """Erases the chunks that a manifest does not know: unfinished additions."""
  for key in leftovers(files, known):
    files.erase(key)
