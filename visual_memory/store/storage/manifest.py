"""The manifest: the one file that says what the store holds.

Its content (everything but the trail of receipts) has a digest, which receipts
name. The content holds the CRC-32 of every chunk of every column, and the
columns hold the CRC-32 of every row's embedding and text, so the digest stands
for all of it. The manifest's own digest stands for the receipts, too.
"""

import dataclasses
import functools
import hashlib
import json
from typing import Any

from visual_memory.checks import as_class_names
from visual_memory.store.errors import StoreDamaged, StoreError
from visual_memory.store.storage import arrays
from visual_memory.store.storage.arrays import COLUMNS

KEY = "manifest.json"
FORMAT = 2
"""In format 1 the digest left the trail of receipts out, and rows were found by
their text alone. Such stores are read; the first edit makes them anew."""
_BLOCK = 4096
MOST_CHUNK_BYTES = 1 << 34
"""Of embeddings in a chunk."""
_MOST = {
  "generation": 2**48,
  "dim": 1 << 20,
  "rows_per_chunk": 1 << 24,
  "text_per_chunk": 1 << 30,
  "num_rows": 2**31 - 1,
  "next_serial": 2**31 - 1,
  "text_end": 2**48,
}
"""What the numbers of a manifest may be; device memories keep serials as
int32."""


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
    trail: where the receipts end; not part of the content.
    version: the format; not part of the content.
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
  version: int = FORMAT

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
      version=self.version,
      dim=self.dim,
      rows_per_chunk=self.rows_per_chunk,
      num_chunks=len(self.chunks),
      text_per_chunk=self.text_per_chunk,
      num_text_chunks=self.num_text_chunks,
    )

  @functools.cached_property
  def content_digest(self) -> str:
    """SHA-256 of all but the trail, hexadecimal: what receipts can name."""
    return hashlib.sha256(self._content.encode()).hexdigest()

  @functools.cached_property
  def digest(self) -> str:
    """SHA-256 of the content and of where the receipts end, hexadecimal."""
    ends = json.dumps([self.content_digest, vars(self.trail)], sort_keys=True)
    return hashlib.sha256(ends.encode()).hexdigest()

  def to_bytes(self, *, at_least: int = 0) -> bytes:
    """The file, padded with spaces so that it seldom needs to grow."""
    text = (
      f'{{"format": {self.version}, "digest": "{self.digest}", "receipts":'
      f' {json.dumps(vars(self.trail))}, "content": {self._content}}}'
    ).encode()
    if len(text) > at_least:
      at_least = -(-len(text) * 5 // 4 // _BLOCK) * _BLOCK
    return text.ljust(at_least)

  @functools.cached_property
  def _content(self) -> str:
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    del fields["trail"], fields["version"]
    fields["chunks"] = [[c.generation, c.checksums] for c in self.chunks]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def from_bytes(data: bytes) -> Manifest:
  """The manifest that a file holds, checked.

  Raises:
    StoreError: the file belongs to a later version of this package.
    StoreDamaged: it is not a manifest, or not what was written.
  """
  try:
    file = json.loads(data.rstrip(b"\0 "))
    version = file["format"]
    if isinstance(version, int) and version > FORMAT:
      raise StoreError(
        f"The store has format {version}; this version of visual_memory reads"
        f" up to {FORMAT}: upgrade it."
      )
    content = dict(file["content"])
    class_names = as_class_names(content.pop("class_names"))
    chunks = tuple(Chunk(*chunk) for chunk in content.pop("chunks"))
    trail = Trail(**file["receipts"])
    manifest = Manifest(
      **content,
      class_names=class_names,
      chunks=chunks,
      trail=trail,
      version=version,
    )
    _check(manifest, version)
    digest = file["digest"]
    known = manifest.content_digest if version == 1 else manifest.digest
  except (ValueError, TypeError, KeyError, RecursionError) as error:
    reason = str(error)[:200] if isinstance(error, ValueError) else "its parts"
    raise StoreDamaged([f"{KEY} cannot be read: {reason}."]) from error
  if digest != known:
    raise StoreDamaged([f"{KEY} does not match its own digest."])
  return manifest


def _check(of: Manifest, version: int) -> None:
  """Raises ValueError for a manifest that nothing could be made of."""
  if type(version) is not int or not 1 <= version <= FORMAT:
    raise ValueError(f"format is {version!r}")
  for name, most in _MOST.items():
    value = getattr(of, name)
    if type(value) is not int or not 0 <= value <= most:
      raise ValueError(f"{name} is {value!r:.40}")
  for name in ("store_id", "salt"):
    if not _is_hex(getattr(of, name), 32):
      raise ValueError(f"{name} is no 32 hexadecimal digits")
  if not isinstance(of.fingerprint, str):
    raise ValueError("fingerprint is no text")
  if not isinstance(of.attributes, dict):
    raise ValueError("attributes are no JSON object")
  size = of.rows_per_chunk
  if not size or size & (size - 1) or not of.text_per_chunk:
    raise ValueError(f"rows_per_chunk is {size}")
  if size * 4 * of.dim > MOST_CHUNK_BYTES:
    raise ValueError(f"chunks would have {size * 4 * of.dim} bytes")
  if of.num_rows > of.num_slots or of.num_rows > of.next_serial:
    raise ValueError(f"num_rows is {of.num_rows}")
  digits = 8 * len(arrays.columns_of(version))
  for chunk in of.chunks:
    if type(chunk.generation) is not int or not _is_hex(
      chunk.checksums, digits
    ):
      raise ValueError("chunks hold no checksums")
  trail = of.trail
  for value in (trail.count, trail.num_bytes):
    if type(value) is not int or not 0 <= value < 2**48:
      raise ValueError("receipts are not counted")
  if trail.last and not _is_hex(trail.last, 64):
    raise ValueError("receipts end in no digest")


def _is_hex(value: str, digits: int) -> bool:
  """Whether it is so many hexadecimal digits."""
  known = isinstance(value, str) and len(value) == digits
  return known and set(value) <= set("0123456789abcdef")
