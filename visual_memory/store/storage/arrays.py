"""The zarr v3 arrays that make a store, and where their chunks are.

Every array is uncompressed and little-endian, so a row is a fixed range of
bytes of one chunk file and can be changed in place. Row r of every array
belongs together; rows of chunk c are c * rows_per_chunk onwards. A slot that
holds no row has mask False, label and serial -1, and zeros everywhere else.

  embeddings  float32 [rows, D]
  labels      int32 [rows], index into the manifest's class_names, -1 unknown
  serials     int64 [rows], order of insertion, never used twice, -1 empty
  mask        bool [rows], True where there is a row
  added       int64 [rows], seconds since 1970 (UTC)
  spans       int64 [rows, 3]: first byte of the row's record in `text`, bytes
              of its id, bytes of the JSON metadata that follows the id
  checksums   uint32 [rows, 2]: CRC-32 of the row's embedding and of its record
  id_checksums  uint32 [rows]: CRC-32 of the row's id, by which it is found
  text        uint8 [bytes], UTF-8 records
"""

import dataclasses
import json

import numpy as np

TEXT = "text"
EMBEDDINGS = "embeddings"
JSON_BYTES = 1024
"""zarr.json files have this size (padded with spaces): they change in place."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
  """A small array that is kept in host memory while a store is open.

  Attributes:
    dtype: of its elements.
    width: elements in a row; 1 is stored as a one-dimensional array.
    fill: the value of every element of an empty slot.
  """

  dtype: str
  width: int
  fill: int

  def empty(self, rows: int) -> np.ndarray:
    """The column of `rows` empty slots."""
    shape = (rows,) if self.width == 1 else (rows, self.width)
    return np.full(shape, self.fill, self.dtype)

  @property
  def row_bytes(self) -> int:
    """Bytes in a row."""
    return np.dtype(self.dtype).itemsize * self.width


COLUMNS = {
  "labels": Column(dtype="int32", width=1, fill=-1),
  "serials": Column(dtype="int64", width=1, fill=-1),
  "mask": Column(dtype="bool", width=1, fill=0),
  "added": Column(dtype="int64", width=1, fill=0),
  "spans": Column(dtype="int64", width=3, fill=0),
  "checksums": Column(dtype="uint32", width=2, fill=0),
  "id_checksums": Column(dtype="uint32", width=1, fill=0),
}
"""In the order of the manifest's checksums; format 1 had not the last one."""
START, ID_BYTES, METADATA_BYTES = range(3)
EMBEDDING_CRC, TEXT_CRC = range(2)
ARRAYS = (*COLUMNS, EMBEDDINGS, TEXT)


def chunk_key(name: str, chunk: int) -> str:
  """The file of one chunk of an array."""
  two_dimensional = name == EMBEDDINGS or (
    name in COLUMNS and COLUMNS[name].width > 1
  )
  return f"{name}/c.{chunk}.0" if two_dimensional else f"{name}/c.{chunk}"


def chunk_of(key: str) -> int | None:
  """The chunk that a file holds; None for a file that is no chunk."""
  parts = key.split("/")[-1].split(".")
  number = parts[1] if parts[0] == "c" and len(parts) > 1 else ""
  is_chunk = number.isascii() and number.isdigit() and len(number) < 10
  return int(number) if is_chunk else None


def columns_of(version: int) -> dict[str, Column]:
  """The columns of a format."""
  if version == 1:
    return {n: c for n, c in COLUMNS.items() if n != "id_checksums"}
  return COLUMNS


def metadata_files(
  *, version: int, dim: int, rows_per_chunk: int, num_chunks: int,
  text_per_chunk: int, num_text_chunks: int,
) -> dict[str, bytes]:  # fmt: skip
  """Every zarr.json of the store: the group's and the arrays'."""
  rows = rows_per_chunk * num_chunks
  group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
  files = {"zarr.json": group}
  for name, column in columns_of(version).items():
    widths = [] if column.width == 1 else [column.width]
    files[f"{name}/zarr.json"] = _array(
      [rows, *widths], [rows_per_chunk, *widths], column.dtype, column.fill
    )
  files[f"{EMBEDDINGS}/zarr.json"] = _array(
    [rows, dim], [rows_per_chunk, dim], "float32", 0.0
  )
  files[f"{TEXT}/zarr.json"] = _array(
    [text_per_chunk * num_text_chunks], [text_per_chunk], "uint8", 0
  )
  return {
    key: json.dumps(value).encode().ljust(JSON_BYTES)
    for key, value in files.items()
  }


def _array(
  shape: list[int], chunk_shape: list[int], dtype: str, fill: int | float
) -> dict:
  """The metadata of one uncompressed array with flat chunk names."""
  little = {"name": "bytes", "configuration": {"endian": "little"}}
  return {
    "zarr_format": 3,
    "node_type": "array",
    "shape": shape,
    "data_type": dtype,
    "chunk_grid": {
      "name": "regular",
      "configuration": {"chunk_shape": chunk_shape},
    },
    "chunk_key_encoding": {
      "name": "default",
      "configuration": {"separator": "."},
    },
    "fill_value": bool(fill) if dtype == "bool" else fill,
    "codecs": [little],
    "attributes": {},
  }
