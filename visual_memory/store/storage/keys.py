"""The files that a store has: no other is ever opened, changed or erased.

Journals and directories may come from a stranger. What they name is looked up
here first.
"""

from visual_memory.store.errors import StoreDamaged
from visual_memory.store.storage import arrays, manifest
from visual_memory.store.storage.arrays import COLUMNS, EMBEDDINGS, TEXT
from visual_memory.store.storage.manifest import Manifest

DERIVED = "derived"
"""The folder of what was computed from the rows."""
RECEIPTS = "receipts.jsonl"
RECEIPTS_BYTES = 1 << 16
"""It has this size from the first, and grows by as much: a row can be removed
on a full disk."""
JOURNAL = "journal"
LOCKS = ("lock", "gate")
_ALONE = {manifest.KEY, JOURNAL, RECEIPTS, *LOCKS}
_FOLDERS = {f"{name}/" for name in (DERIVED, *arrays.ARRAYS)}
_METADATA = {"zarr.json", *(f"{name}/zarr.json" for name in arrays.ARRAYS)}


def receipts_bytes(needed: int) -> int:
  """A size for the receipts with room for more, so that few edits grow it."""
  half = RECEIPTS_BYTES // 2
  return -(-(needed + half) // RECEIPTS_BYTES) * RECEIPTS_BYTES


def chunk_bytes(name: str, of: Manifest) -> int:
  """The size of every chunk file of an array."""
  if name == TEXT:
    return of.text_per_chunk
  if name == EMBEDDINGS:
    return of.rows_per_chunk * 4 * of.dim
  return of.rows_per_chunk * COLUMNS[name].row_bytes


def num_chunks(name: str, of: Manifest) -> int:
  """How many chunk files an array has."""
  if name in COLUMNS and name not in arrays.columns_of(of.version):
    return 0
  return of.num_text_chunks if name == TEXT else len(of.chunks)


def most_bytes(key: str, of: Manifest) -> int | None:
  """How large a file of a generation may be; None if it has no such file."""
  if key in _METADATA:
    return arrays.JSON_BYTES
  if key == RECEIPTS:
    return of.trail.num_bytes
  found = chunk_of(key)
  if found is not None and found[1] < num_chunks(found[0], of):
    return chunk_bytes(found[0], of)
  return None


def chunk_of(key: str) -> tuple[str, int] | None:
  """The array and the chunk of a file, None for a file that is no chunk."""
  name = key.split("/")[0]
  number = arrays.chunk_of(key)
  if name in arrays.ARRAYS and number is not None:
    if key == arrays.chunk_key(name, number):
      return name, number
  return None


def is_derived(key: str) -> bool:
  """Whether a file is directly in the folder that every edit empties."""
  folder, _, name = key.partition("/")
  odd = name in ("", ".", "..") or "/" in name or "\0" in name
  return folder == DERIVED and not odd


def is_known(key: str, of: Manifest) -> bool:
  """Whether a generation has this file, or folder ("text/")."""
  if key in _FOLDERS or key in _ALONE or is_derived(key):
    return True
  return most_bytes(key, of) is not None


def could_be(key: str) -> bool:
  """Whether some store could have this file."""
  known = key in _FOLDERS or key in _ALONE or key in _METADATA
  return known or may_be_erased(key)


def may_be_erased(key: str) -> bool:
  """Whether some edit could delete this file: a chunk, or a derived one."""
  return chunk_of(key) is not None or is_derived(key)


def check_is_known(key: str, of: Manifest, end: int) -> None:
  """Raises StoreDamaged unless a generation has a file that reaches to `end`.

  Raises:
    StoreDamaged: it names the key.
  """
  most = end if key == manifest.KEY else most_bytes(key, of)
  if most is None or end > most:
    what = "is no file of this store" if most is None else f"has {most} bytes"
    raise StoreDamaged([
      f"{JOURNAL}: would write up to byte {end} of {key[:200]!r}, which {what}."
      " It was not written by this package: do not use this store."
    ])  # fmt: skip
