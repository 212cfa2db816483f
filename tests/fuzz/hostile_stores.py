"""Stores to start from, and everything that is done with one from elsewhere."""

import functools
import hashlib
import json
import pathlib
import zlib

import fuzzing
import numpy as np
import store_cases

from visual_memory.checks import are_unit_rows
from visual_memory.store.errors import StoreError
from visual_memory.store.storage import arrays, manifest
from visual_memory.store.store import Store


@functools.cache
def sound() -> dict[str, bytes]:
  """The files of a small store that has been edited and has receipts."""
  disk = store_cases.FailingDisk()
  store = store_cases.small_store(disk, metadata={"who": "Ada"})
  store.add(store_cases.numbered(50, 60))
  store.remove([f"number/{n}" for n in (3, 17, 53)])
  store.relabel(["number/4"], ["bee"])
  store.put_derived("x", b"1" * 100, generation=store.contents.generation)
  return {key: bytes(data) for key, data in disk.contents.items()}


def writer(files: dict[str, bytes]):
  """A function that writes a store's files into a place."""

  def fill(place: pathlib.Path) -> None:
    for key, data in files.items():
      path = place / key
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(data)

  return fill


def signed(content: dict, receipts: dict, version: int = 2) -> bytes:
  """A manifest's file whose digest fits its content, whatever that is."""
  text = json.dumps(content, sort_keys=True, separators=(",", ":"))
  made = hashlib.sha256(text.encode()).hexdigest()
  ends = json.dumps([made, receipts], sort_keys=True)
  digest = hashlib.sha256(ends.encode()).hexdigest()
  file = {
    "format": version,
    "digest": made if version == 1 else digest,
    "receipts": receipts,
    "content": content,
  }
  return json.dumps(file).encode().ljust(4096)


def resealed(files: dict[str, bytes]) -> dict[str, bytes]:
  """The files with a manifest that has the checksums of their columns."""
  try:
    file = json.loads(files[manifest.KEY])
    for number, chunk in enumerate(file["content"]["chunks"]):
      chunk[1] = "".join(
        f"{zlib.crc32(files.get(arrays.chunk_key(name, number), b'')):08x}"
        for name in arrays.columns_of(file["format"])
      )
    sealed = signed(file["content"], file["receipts"], file["format"])
  except (KeyError, ValueError, TypeError, IndexError):
    return files
  return {**files, manifest.KEY: sealed}


def use(place: pathlib.Path) -> str:
  """Opens, reads, checks and edits a store; how it ended.

  Whatever is read keeps every promise: ids that differ, labels with a name,
  rows that are unit.
  """
  try:
    store = Store.open(place, timeout_s=0.2)
    repr(store)
  except StoreError as error:
    return fuzzing.assert_clear(error)
  ends = [
    _tried(lambda: _read(store)),
    _tried(lambda: len(store.load(capacity=200)) >= 0),
    _tried(store.verify),
    _tried(store.receipts),
    _tried(lambda: store.metadata(store.ids.tolist())),
    _tried(lambda: store.derived("x")),
    _tried(lambda: store.relabel(store.ids[:2], ["bee", "new"])),
    _tried(lambda: store.remove(store.ids[:1])),
    _tried(lambda: _add(store)),
    _tried(store.compact),
    _tried(lambda: _read(store)),
  ]
  return "refused" if "refused" in ends else "read"


def _tried(call) -> str:
  try:
    call()
    return "read"
  except (StoreError, ValueError, KeyError) as error:
    return fuzzing.assert_clear(error)


def _read(store: Store) -> None:
  held = store.embedded()
  assert len(set(held.ids)) == len(held.ids) == len(store)
  assert all(isinstance(row_id, str) for row_id in held.ids)
  assert ((held.labels >= -1) & (held.labels < held.num_classes)).all()
  assert are_unit_rows(held.embeddings).all()
  assert held.embeddings.dtype == np.float32


def _add(store: Store) -> None:
  rows = store_cases.numbered(900, 903, dim=store.contents.dim)
  fields = vars(rows) | {"fingerprint": store.fingerprint}
  store.add(type(rows)(**fields))
