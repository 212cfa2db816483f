"""The parts of .npz and .parquet files of rows, read within bounds.

A file from a stranger may be cut short, lie about its sizes, hold other types,
or unpack to a thousand times its size. Either its parts are what `exchange`
writes, or there is one ValueError that says what is wrong. What the libraries
raise of damaged files is of every kind (a TokenError, for one), and in words
for programmers (NumPy advises to allow pickles): none of it is passed on.
"""

import io
import math
import typing
import zipfile
from typing import Any, BinaryIO

import numpy as np

from visual_memory.checks import check_text

HEADING = b"visual_memory"
_MOST_TIMES = 100
"""A file may unpack to so many times its size,"""
_SMALL_BYTES = 16 << 20
"""or to this."""
_PARTS = ("ids", "labels", "embeddings", "metadata", "visual_memory")

_NEEDS = (
  "Parquet needs the `pyarrow` package: install it with"
  " pip install 'visual_memory[cli]', or use a .npz file."
)


def read_npz(file: BinaryIO) -> dict[str, Any]:
  """The parts of a .npz file.

  Raises:
    ValueError: it is not one of rows.
  """
  bound = _bound(file)
  try:
    with zipfile.ZipFile(file) as archive:
      sizes = {info.filename: info.file_size for info in archive.infolist()}
      _check_bound(sum(sizes.values()), bound)
      data = {
        name: archive.read(f"{name}.npy")
        for name in _PARTS
        if f"{name}.npy" in sizes
      }
  except _Unusable:
    raise
  except Exception as error:
    raise _Unusable("it is damaged, or no .npz file.") from error
  if missing := [name for name in _PARTS if name not in data]:
    raise _Unusable(f"it has no {missing[0]!r}.")
  arrays = {name: _array(name, data[name]) for name in _PARTS}
  for name, kinds, ndim in (
    ("ids", "U", 1), ("labels", "iu", 1), ("embeddings", "f", 2),
    ("metadata", "U", 1), ("visual_memory", "U", 0),
  ):  # fmt: skip
    array = arrays[name]
    if (array.dtype.kind not in kinds and array.size) or array.ndim != ndim:
      raise _Unusable(f"{name!r} is {array.dtype.name} of shape {array.shape}.")
    if array.dtype.kind == "U":
      check_text(array, name)
  return {
    "heading": str(arrays["visual_memory"]),
    "ids": arrays["ids"],
    "labels": arrays["labels"],
    "embeddings": arrays["embeddings"],
    "metadata": arrays["metadata"].tolist(),
  }


def _array(name: str, data: bytes) -> np.ndarray:
  """The array of a .npy file's bytes, which are all that it may take."""
  buffer = io.BytesIO(data)
  try:
    major, _ = np.lib.format.read_magic(buffer)
    read = {
      1: np.lib.format.read_array_header_1_0,
      2: np.lib.format.read_array_header_2_0,
    }[major]
    shape, fortran, dtype = read(buffer)
    start = buffer.tell()
    expected = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or dtype.names or min(shape, default=0) < 0:
      raise _Unusable(f"{name!r} holds objects, which are never read.")
    if expected != len(data) - start:
      raise _Unusable(
        f"{name!r} has {len(data) - start} bytes instead of {expected}."
      )
    array = np.frombuffer(data, dtype, offset=start)
    return array.reshape(shape, order="F" if fortran else "C")
  except _Unusable:
    raise
  except Exception as error:
    raise _Unusable(f"{name!r} is no array.") from error


def read_parquet(file: BinaryIO) -> dict[str, Any]:
  """The parts of a .parquet file; labels are names.

  Raises:
    ValueError: it is not one of rows.
  """
  arrow, parquet = pyarrow()
  bound = _bound(file)
  try:
    found = parquet.ParquetFile(file)
    about = found.metadata
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    _check_bound(sum(group.total_byte_size for group in groups), bound)
    _check_bound(about.num_rows, bound)  # Every row has an id of its own.
    schema = found.schema_arrow
    heading = (schema.metadata or {}).get(HEADING)
    names = ["id", "label", "embedding", "metadata"]
    if heading is None or not set(names) <= set(schema.names):
      raise _Unusable(f"it has not the columns {', '.join(names)}.")
    dim = getattr(schema.field("embedding").type, "list_size", 1)
    _check_bound(4 * dim * about.num_rows, bound)
    table = found.read(columns=names)
    table.validate(full=True)
    return {
      "heading": heading.decode(),
      "ids": _strings(arrow, table["id"], "id", nulls=False),
      "labels": _strings(arrow, table["label"], "label"),
      "embeddings": _vectors(arrow, table["embedding"]),
      "metadata": _strings(arrow, table["metadata"], "metadata"),
    }
  except _Unusable:
    raise
  except Exception as error:
    raise _Unusable("it is damaged, or no .parquet file of rows.") from error


def _strings(arrow, column, name: str, *, nulls: bool = True) -> list[str]:
  """A column of text of any of the types that hold it."""
  kind = column.type
  if arrow.types.is_dictionary(kind):
    kind = kind.value_type
  text = arrow.types.is_string(kind) or arrow.types.is_large_string(kind)
  if not text and not (nulls and arrow.types.is_null(kind)):
    raise _Unusable(f"the column {name!r} is {kind}, not text.")
  if column.null_count and not nulls:
    raise _Unusable(f"the column {name!r} has rows without a value.")
  return column.to_pylist()


def _vectors(arrow, column) -> np.ndarray:
  """A column of lists of numbers, float32 [N, D]."""
  kind = column.type
  is_list = (
    arrow.types.is_fixed_size_list(kind)
    or arrow.types.is_list(kind)
    or arrow.types.is_large_list(kind)
  )
  if not is_list or not arrow.types.is_floating(kind.value_type):
    raise _Unusable(f"the column 'embedding' is {kind}, not a list of floats.")
  lists = column.combine_chunks()
  if isinstance(lists, arrow.ChunkedArray):  # As older versions have it.
    lists = arrow.concat_arrays(lists.chunks)
  values = lists.flatten()
  if lists.null_count or values.null_count:
    raise _Unusable("the column 'embedding' has rows without a value.")
  dim = getattr(kind, "list_size", None)
  if dim is None:
    lengths = np.unique(np.diff(lists.offsets.to_numpy()))
    if len(lengths) > 1:
      raise _Unusable("the column 'embedding' has lists of several lengths.")
    dim = int(lengths[0]) if len(lengths) else 0
  rows = values.to_numpy(zero_copy_only=False).astype(np.float32)
  return rows.reshape(len(lists), dim)


class _Unusable(ValueError):
  """Something is wrong with a file, and this says what."""


def _bound(file: BinaryIO) -> int:
  """The most bytes that a file may unpack to."""
  size = file.seek(0, io.SEEK_END)
  file.seek(0)
  return max(_SMALL_BYTES, _MOST_TIMES * size)


def _check_bound(size: int, bound: int) -> None:
  """Raises an error if something is larger than it may be."""
  if not 0 <= size <= bound:
    raise _Unusable(
      f"it would unpack to {size:,} bytes, which is more than"
      f" {_MOST_TIMES} times its size."
    )


def pyarrow() -> tuple[typing.Any, typing.Any]:
  """The parts of pyarrow that are used here.

  Raises:
    ImportError: it is not installed; names the extra.
  """
  try:
    import pyarrow
    import pyarrow.parquet
  except ImportError as error:
    raise ImportError(_NEEDS) from error
  return pyarrow, pyarrow.parquet
