"""The manifest: the one file that says what the store holds.

Its content (everything but the trail of receipts) has a digest. The content
holds the CRC-32 of every chunk of every column, and the columns hold the
CRC-32 of every row's embedding and text, so the digest stands for all of it.
"""

import dataclasses
import functools
import hashlib
import json
from typing import Any

from visual_memory.store.errors import StoreDamaged, StoreError
from visual_memory.store.storage import arrays
from visual_memory.store.storage.arrays import COLUMNS

KEY = "manifest.json"
_FORMAT = 1
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class Chunk:
  """One chunk of rows.

  Attributes:
    generation: the store's generation when the chunk last changed.
    checksums: CRC-32 of each column's chunk, eight hexadecimal digits each,
      in the order of arrays.COLUMNS.
  """

  generation: int
  checksums: str

  def checksum(self, name: str) -> str:
    """The digits of one column."""
    start = 8 * list(COLUMNS).index(name)
    return self.checksums[start : start + 8]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trail:
  """Where the removal receipts end.

  Attributes:
    count: receipts written.
    num_bytes: bytes of receipts.jsonl that are theirs.
    last: SHA-256 of the last receipt; each receipt names the one before it.
  """

  count: int = 0
  num_bytes: int = 0
  last: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Manifest:
  """What a generation of the store holds.

  Attributes:
    store_id: random name of this store.
    salt: random bytes (hexadecimal) that ids are hashed with in receipts.
    generation: edits since the store was created.
    fingerprint: of the encoder that made every embedding.
    dim: embedding dimension D.
    class_names: the name of each label.
    attributes: the user's own description (encoder, preprocessing, ...).
    rows_per_chunk: slots in a row chunk.
    text_per_chunk: bytes in a text chunk.
    num_rows: rows held.
    next_serial: the serial of the next row.
    text_end: the first byte of `text` that was never used.
    chunks: the row chunks.
    trail: where the receipts end; not part of the digest.
  """

  store_id: str
  salt: str
  generation: int
  fingerprint: str
  dim: int
  class_names: tuple[str, ...]
  attributes: dict[str, Any]
  rows_per_chunk: int
  text_per_chunk: int
  num_rows: int = 0
  next_serial: int = 0
  text_end: int = 0
  chunks: tuple[Chunk, ...] = ()
  trail: Trail = Trail()

  def __repr__(self) -> str:
    """Its counts: names and chunks would fill pages."""
    return (
      f"Manifest(generation={self.generation}, num_rows={self.num_rows},"
      f" num_classes={len(self.class_names)}, dim={self.dim},"
      f" fingerprint={self.fingerprint!r})"
    )

  @property
  def num_slots(self) -> int:
    """Rows that the chunks have room for."""
    return len(self.chunks) * self.rows_per_chunk

  @property
  def num_text_chunks(self) -> int:
    """Chunks that the used part of `text` needs."""
    return -(-self.text_end // self.text_per_chunk)

  @property
  def shapes(self) -> tuple[int, int]:
    """Chunks of rows and of text; what the arrays' shapes follow from."""
    return len(self.chunks), self.num_text_chunks

  def metadata_files(self) -> dict[str, bytes]:
    """Every zarr.json of the store, by key."""
    return arrays.metadata_files(
      dim=self.dim,
      rows_per_chunk=self.rows_per_chunk,
      num_chunks=len(self.chunks),
      text_per_chunk=self.text_per_chunk,
      num_text_chunks=self.num_text_chunks,
    )

  @functools.cached_property
  def digest(self) -> str:
    """SHA-256 of the content, hexadecimal."""
    return hashlib.sha256(self._content.encode()).hexdigest()

  def to_bytes(self, *, at_least: int = 0) -> bytes:
    """The file, padded with spaces so that it seldom needs to grow."""
    text = (
      f'{{"format": {_FORMAT}, "digest": "{self.digest}", "receipts":'
      f' {json.dumps(vars(self.trail))}, "content": {self._content}}}'
    ).encode()
    if len(text) > at_least:
      at_least = -(-len(text) * 5 // 4 // _BLOCK) * _BLOCK
    return text.ljust(at_least)

  @functools.cached_property
  def _content(self) -> str:
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    del fields["trail"]
    fields["chunks"] = [[c.generation, c.checksums] for c in self.chunks]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def from_bytes(data: bytes) -> Manifest:
  """The manifest that a file holds.

  Raises:
    StoreError: the file belongs to a later version of this package.
    StoreDamaged: it is not a manifest, or not what was written.
  """
  try:
    file = json.loads(data.rstrip(b"\0 "))
    if file["format"] > _FORMAT:
      raise StoreError(
        f"The store has format {file['format']}; this version of visual_memory"
        f" reads up to {_FORMAT}: upgrade it."
      )
    content = file["content"]
    manifest = Manifest(
      **{
        **content,
        "class_names": tuple(content["class_names"]),
        "chunks": tuple(Chunk(*chunk) for chunk in content["chunks"]),
      },
      trail=Trail(**file["receipts"]),
    )
  except (ValueError, TypeError, KeyError) as error:
    raise StoreDamaged([f"{KEY} cannot be read: {error!r}."]) from error
  if manifest.digest != file["digest"]:
    raise StoreDamaged([f"{KEY} does not match its own digest."])
  return manifest
