"""Stores with a journal of somebody else's, whole and with a right checksum."""

import json
import pathlib
import zlib

import fuzzing
import hostile_stores
import numpy as np

from visual_memory.store.storage import journal, manifest
from visual_memory.store.storage.place import Overwrite

_KEYS = (
  "../target", "../outside/y", "../../x", "/tmp/x", "", ".", "..", "lock",
  "gate", "journal", "new", "embeddings/../../target", "embeddings/c.9.0",
  "embeddings/c.0.0", "labels/c.0", "text/c.0", "text/c.0/../../../target",
  "derived/x", "derived/../../target", "receipts.jsonl", "zarr.json",
  "labels/zarr.json", "a\0b", "embeddings", "labels/c.00", "mask/c.1",
)  # fmt: skip
_SIZES = (0, 1, 8, 100, 512, 4096, 2**31, 2**40, 2**62, 2**63 - 1, -1, -8)


def check(seed: int, folder: pathlib.Path) -> str:
  """One journal."""
  rng = fuzzing.random_of(seed)
  files = dict(hostile_stores.sound())
  if rng.random() < 0.1:
    del files[manifest.KEY]
  chosen = rng.sample(_KEYS, rng.choice([1, 1, 2, 4]))
  overwrites = [_overwrite(rng, key) for key in chosen if rng.random() < 0.8]
  if rng.random() < 0.8:
    file = json.loads(hostile_stores.sound()[manifest.KEY])
    if rng.random() < 0.5:
      file["content"] = fuzzing.mutated_json(file["content"], rng)
    try:
      sealed = hostile_stores.signed(file["content"], file["receipts"])
    except ValueError:
      sealed = b"{}"
    overwrites.append(Overwrite.whole(manifest.KEY, sealed))
  erased = rng.sample(_KEYS, rng.choice([0, 0, 1, 2]))
  rng.shuffle(overwrites)
  data = journal.Journal(overwrites=overwrites, erased=erased).to_bytes()
  if rng.random() < 0.3:
    data = _with_other_body(data, rng)
  files[journal.KEY] = data.ljust(1 << 16, b"\0")
  with fuzzing.guarded(folder, hostile_stores.writer(files)) as place:
    ended = hostile_stores.use(place)
    sizes = [p.stat().st_size for p in place.rglob("*") if p.is_file()]
    assert max(sizes) < 1 << 24, "a file grew without a bound"
    return ended


def _overwrite(rng, key: str) -> Overwrite:
  """Ranges of a file that may be anything."""
  count = rng.choice([1, 1, 2, 5])
  sizes = [rng.choice(_SIZES[:5]) for _ in range(count)]
  data = None if rng.random() < 0.3 else rng.randbytes(sum(sizes))
  if rng.random() < 0.3:
    sizes = [rng.choice(_SIZES) for _ in range(count)]
  choices = _SIZES if rng.random() < 0.3 else (0, 8, 64)
  return Overwrite(
    key=key,
    offsets=np.array([rng.choice(choices) for _ in range(count)], np.int64),
    lengths=np.array(sizes, np.int64),
    data=data,
  )


def _with_other_body(data: bytes, rng) -> bytes:
  """The journal with a changed body and the checksum of that."""
  header = journal._HEADER
  body = fuzzing.mutated(data[header.size :], rng)
  length = rng.choice([len(body), len(body), 0, 2**40, 2**64 - 1])
  return header.pack(journal._MAGIC, length, zlib.crc32(body)) + body
