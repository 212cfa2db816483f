"""How a store begins: nothing is there until its manifest is."""

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any

from visual_memory.checks import as_class_names, as_embeddings
from visual_memory.memory import matching
from visual_memory.store import row_edits
from visual_memory.store.errors import StoreError
from visual_memory.store.metadata import Metadata, check_object
from visual_memory.store.storage import generations, journal, manifest, upkeep
from visual_memory.store.storage.manifest import Manifest
from visual_memory.store.storage.place import Files
from visual_memory.store.storage.state import State
from visual_memory.store.storage.transaction import Transaction
from visual_memory.types import EmbeddedSet

_CHUNK_BYTES = 32 << 20
_LEAST_ROWS, _MOST_ROWS = 1 << 10, 1 << 16
_TEXT_CHUNK_BYTES, _LEAST_TEXT = 1 << 20, 1 << 16
_TEXT_ROW_BYTES = 256
"""Bytes of id and metadata that a row may have before text has more chunks."""
_LOCK_TIMEOUT_S = 10.0


def create(
  files: Files,
  embedded: EmbeddedSet,
  *,
  metadata: Metadata,
  attributes: Mapping[str, Any] | None,
  chunk_rows: int | None,
  successor_of: Manifest | None = None,
) -> None:
  """Writes a new store; see Store.create.

  A successor has the other's name and salt, and gives out later serials: the
  receipts of the one are those of the other.
  """
  matching.check_set(embedded)
  check_object(attributes or {}, "The store's description")
  dim = as_embeddings(embedded.embeddings).shape[1]
  class_names = as_class_names(embedded.class_names)
  size = (
    rows_per_chunk(len(embedded), dim) if chunk_rows is None else chunk_rows
  )
  if not isinstance(size, int) or size < 1 or size & (size - 1):
    raise ValueError(f"rows_per_chunk must be a power of two; got {size}.")
  if size > manifest.MOST_CHUNK_BYTES // (4 * max(1, dim)) or size > 1 << 24:
    raise ValueError(f"rows_per_chunk of {size} makes chunks too large.")
  empty = Manifest(
    store_id=secrets.token_hex(16),
    salt=secrets.token_hex(16),
    generation=0,
    fingerprint=embedded.fingerprint,
    dim=dim,
    class_names=class_names,
    attributes=dict(attributes or {}),
    rows_per_chunk=size,
    text_per_chunk=min(
      max(_LEAST_TEXT, _TEXT_ROW_BYTES * size), _TEXT_CHUNK_BYTES
    ),
  )
  if successor_of is not None:
    empty = dataclasses.replace(
      empty,
      store_id=successor_of.store_id,
      salt=successor_of.salt,
      next_serial=successor_of.next_serial,
    )
  edit = Transaction(State(files, empty))
  import jax  # Which processes there are: nothing else here needs to know.

  from visual_memory import distributed

  share = slice(jax.process_index(), None, jax.process_count())

  def begin() -> None:
    if distributed.is_lead():
      _make_room(files)
      upkeep.create_arrays(files, empty)
    distributed.barrier("store-arrays")
    edit.begin_fresh(share)

  try:
    row_edits.add(edit, embedded, metadata, begin=begin)
    edit.write_fresh(share)
  finally:
    edit.close()
  distributed.barrier("store-rows")
  if distributed.is_lead():
    with files.writer_lock(_LOCK_TIMEOUT_S):
      edit.commit(fresh_written=True)
  distributed.barrier("store-manifest")


def _make_room(files: Files) -> None:
  """Checks that a store may be created here; clears an unfinished one.

  Raises:
    StoreError: there is something else.
  """
  unfinished = journal.exists(files)
  if unfinished:
    journal.recover(files)
  if generations.manifest_or_none(files) is not None:
    raise StoreError(
      f"There is a store at {files!r} already: open it with Store.open, or"
      " delete it first."
    )
  if not unfinished and not files.is_empty():
    raise StoreError(
      f"{files!r} is not empty and holds no store: choose another place."
    )
  upkeep.erase_chunks(files)


def rows_per_chunk(count: int, dim: int) -> int:
  """A power of two: chunks of 32 MiB, or as large as the rows need."""
  fitting = 1 << max(0, (_CHUNK_BYTES // (4 * max(1, dim))).bit_length() - 1)
  needed = 1 << max(0, count - 1).bit_length()
  return min(max(min(fitting, needed), _LEAST_ROWS), _MOST_ROWS)
