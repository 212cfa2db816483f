"""Finished blocks of embedded rows, kept on disk so that no work is done twice.

A cache directory holds one folder for each (encoder, source, layout):

  CACHE/0f3a.../key.json             what the folder belongs to, in clear
  CACHE/0f3a.../000012.npy           float32 embeddings of the block's rows
  CACHE/0f3a.../000012.json          their row numbers, what their pixels hash
                                     to, skipped images, sha256

A block is finished once its .json exists and agrees with its .npy. Both are
written to a temporary name, flushed to disk, and renamed, array first: whatever
instruction a process dies at, a block is there whole or not at all. Processes
that share the directory write different blocks.

It holds 4 * D bytes and some 40 more for each image of each source; nothing is
deleted, and any folder may be, at any time.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from visual_memory import files
from visual_memory.data.batching import Skipped

_FORMAT = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
  """The embeddings of consecutive rows of a source.

  Attributes:
    rows: positions in the source, ascending, int32 [N].
    embeddings: what is kept of each, float32 [N, D] (or [N, P, D]).
    skipped: the images of the block that have no embedding.
    pictures: what the pixels of each hash to (`known_pictures`), [N]; None
      where nobody asks.
  """

  rows: Int32[np.ndarray, "N"]
  embeddings: Float32[np.ndarray, "N *row"]
  skipped: tuple[Skipped, ...] = ()
  pictures: np.ndarray | None = None


class BlockCache:
  """The finished blocks of one key in a cache directory."""

  def __init__(self, cache_dir: str | os.PathLike, *, key: dict[str, Any]):
    """Opens the key's folder, and makes it where there is none.

    Args:
      cache_dir: a directory that may hold many keys.
      key: JSON values that every block depends on.

    Raises:
      ValueError: cache_dir is a URL, or the folder belongs to another key (it
        was renamed or edited).
    """
    if "://" in os.fspath(cache_dir):
      raise ValueError(
        f"cache_dir must be a local or mounted directory; got {cache_dir!r}."
      )
    clear = json.dumps({"format": _FORMAT, **key}, sort_keys=True, indent=2)
    name = hashlib.sha256(clear.encode()).hexdigest()[:32]
    self.key = key
    self.directory = pathlib.Path(cache_dir) / name
    self.directory.mkdir(parents=True, exist_ok=True)
    key_file = self.directory / "key.json"
    if not key_file.exists():
      files.write_text(key_file, clear)
    elif key_file.read_text() != clear:
      raise ValueError(
        f"{key_file} does not describe the embeddings asked for; this folder"
        " was renamed or edited. Delete it, or choose another cache_dir."
      )

  def read(self, index: int) -> Block | None:
    """Block `index`, or None where it is absent, unfinished or damaged."""
    return read_block(self._record_file(index))

  def others(self) -> Iterator[pathlib.Path]:
    """The records of the other sources' blocks: kept of their images is what
    is kept here."""
    for key_file in sorted(self.directory.parent.glob("*/key.json")):
      key = _read_json(key_file)
      same = {**self.key, "format": _FORMAT}
      for name in ("source", "num_rows"):
        same.pop(name, None), key.pop(name, None)
      if key == same and key_file.parent != self.directory:
        yield from sorted(key_file.parent.glob("[0-9]*.json"))

  def write(self, index: int, block: Block) -> None:
    """Keeps a block; it is finished when this returns, and not before."""
    buffer = io.BytesIO()
    np.save(buffer, block.embeddings, allow_pickle=False)
    data = buffer.getvalue()
    record = {
      "rows": block.rows.tolist(),
      "skipped": [dataclasses.asdict(skipped) for skipped in block.skipped],
      "pictures": [] if block.pictures is None else block.pictures.tolist(),
    }
    record["sha256"] = _checksum(data, record)
    record_file = self._record_file(index)
    with files.replacing(record_file.with_suffix(".npy")) as partial:
      partial.write_bytes(data)
    files.write_text(record_file, json.dumps(record))

  def _record_file(self, index: int) -> pathlib.Path:
    return self.directory / f"{index:06}.json"


def read_block(record_file: pathlib.Path) -> Block | None:
  """The block of a record, or None where it is absent or damaged."""
  record = _read_json(record_file)
  try:
    data = record_file.with_suffix(".npy").read_bytes()
  except OSError:
    return None
  if record.get("sha256") != _checksum(data, record):
    return None
  return Block(
    rows=np.asarray(record["rows"], np.int32),
    embeddings=np.load(io.BytesIO(data), allow_pickle=False),
    skipped=tuple(Skipped(**skipped) for skipped in record["skipped"]),
    pictures=np.asarray(record["pictures"], str),
  )


def pictures_of(record_file: pathlib.Path) -> list[str]:
  """What the images of a record hash to, unchecked; none where it is damaged.

  Whoever takes a value checks its block: see `read_block`.
  """
  return _read_json(record_file).get("pictures", [])


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  """The object in a file; an empty one where it is absent or damaged."""
  try:
    value = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return value if isinstance(value, dict) else {}


def _checksum(data: bytes, record: dict[str, Any]) -> str:
  """The sha256 of a block's array file and of the rest of its record."""
  rest = {name: value for name, value in record.items() if name != "sha256"}
  digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
  digest.update(data)
  return digest.hexdigest()
