"""Reading a generation of a store, whole, whatever a writer does meanwhile."""

import zlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from visual_memory.store.errors import StoreDamaged, StoreError, StoreLocked
from visual_memory.store.storage import (
  arrays,
  journal,
  keys,
  manifest,
  parallel,
)
from visual_memory.store.storage.arrays import COLUMNS, TEXT
from visual_memory.store.storage.place import Files
from visual_memory.store.storage.state import State

T = TypeVar("T")
_ATTEMPTS = 3
_FEW = 64
"""Chunks that are not counted before they are read."""
_MOST_MANIFEST_BYTES = 1 << 30
_LOCK_TIMEOUT_S = 10.0


def read_state(
  files: Files, of: manifest.Manifest, old: State | None = None
) -> State:
  """The generation of a manifest; unchanged chunks are taken from `old`.

  Raises:
    StoreDamaged: chunks that are not what the manifest says.
  """
  known = old.manifest.chunks if old is not None else ()
  stale = [
    chunk
    for chunk, entry in enumerate(of.chunks)
    if chunk >= len(known) or known[chunk] != entry
  ]
  _check_sizes(files, of, stale)
  columns = {}
  for name, column in COLUMNS.items():
    columns[name] = column.empty(of.num_slots)
    if old is not None:
      keep = min(of.num_slots, old.manifest.num_slots)
      columns[name][:keep] = old.columns[name][:keep]
  state = State(files, of, columns)

  def read(chunk: int) -> list[str]:
    problems = [
      problem
      for name in arrays.columns_of(of.version)
      if (problem := _read_column(state, name, chunk))
    ]
    return problems or state.column_problems(chunk)

  problems = sum(parallel.run(read, stale), [])
  if not problems and columns["mask"].sum() != of.num_rows:
    problems = [f"mask: has another number of rows than {manifest.KEY}."]
  if problems:
    raise StoreDamaged(problems)
  if old is not None and "ids" in vars(old):
    _inherit_ids(state, old)
  return state


def _check_sizes(files: Files, of: manifest.Manifest, chunks: list[int]):
  """Raises StoreDamaged before time and memory go to what is not there.

  Raises:
    StoreDamaged: names the first row chunk that is too short, or the text.
  """
  if of.num_text_chunks > _FEW and of.num_text_chunks > len(files.keys(TEXT)):
    raise StoreDamaged([f"{TEXT}: has fewer chunks than {manifest.KEY} says."])
  for chunk in chunks:
    key = arrays.chunk_key("mask", chunk)
    if files.size(key) != of.rows_per_chunk:
      raise StoreDamaged([_wrong_size(of, "mask", chunk, files.size(key))])


def _wrong_size(of: manifest.Manifest, name: str, chunk: int, size: int) -> str:
  first = chunk * of.rows_per_chunk
  return (
    f"{arrays.chunk_key(name, chunk)}: has {size} bytes instead of"
    f" {keys.chunk_bytes(name, of)}. Restore the file; rows {first} to"
    f" {first + of.rows_per_chunk - 1} depend on it."
  )


def _inherit_ids(state: State, old: State) -> None:
  """Reads the ids of rows that an older state lacks, and takes the others."""
  serials = state.columns["serials"]
  before = np.full_like(serials, -1)
  keep = min(len(serials), len(old.ids))
  before[:keep] = old.columns["serials"][:keep]
  ids = np.full(len(serials), None, dtype=object)
  same = (serials == before) & (serials >= 0)
  ids[same] = old.ids[: len(same)][same[: len(old.ids)]]
  new = np.flatnonzero((serials != before) & (serials >= 0))
  ids[new] = state.read_ids(new)
  state.ids = ids


def _read_column(state: State, name: str, chunk: int) -> str | None:
  """Reads one chunk of one column into a state; the problem, if there is."""
  of, column = state.manifest, COLUMNS[name]
  key = arrays.chunk_key(name, chunk)
  data = state.files.read(key)
  if len(data) != keys.chunk_bytes(name, of):
    return _wrong_size(of, name, chunk, len(data))
  if f"{zlib.crc32(data):08x}" != of.chunks[chunk].checksum(name):
    return (
      f"{key}: does not match its checksum in the manifest. Restore the file;"
      f" rows {chunk * of.rows_per_chunk} to"
      f" {(chunk + 1) * of.rows_per_chunk - 1} depend on it."
    )
  rows = slice(chunk * of.rows_per_chunk, (chunk + 1) * of.rows_per_chunk)
  values = np.frombuffer(data, column.dtype)
  state.columns[name][rows] = values.reshape(state.columns[name][rows].shape)
  return None


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
