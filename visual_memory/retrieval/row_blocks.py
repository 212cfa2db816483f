"""Rows of a memory that is larger than memory, block by block.

  blocks = ArrayBlocks.from_directory("rows", block_rows=65_536)  # *.npy
  blocks = ArrayBlocks(embeddings, labels, ids, block_rows=65_536)

A source of blocks is any sequence of `Block`: len(source), source[i]. Arrays
are anything that is sliced by rows: NumPy, memory maps, TensorStore, zarr.
"""

import dataclasses
import math
import os
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from visual_memory import direct_files
from visual_memory.types import EmbeddedSet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
  """Some consecutive rows.

  Attributes:
    embeddings: float32 [B, D]; may be a memory map.
    labels: int32 [B].
    ids: [B] strings: an object array, or one of NumPy's "U" or "S" types.
    serials: int32 order of insertion, unique over all blocks, [B].
  """

  embeddings: Float[np.ndarray, "B D"]
  labels: Int[np.ndarray, "B"]
  ids: np.ndarray
  serials: Int[np.ndarray, "B"]

  def __len__(self) -> int:
    """The number of rows."""
    return len(self.labels)


@runtime_checkable
class RowBlocks(Protocol):
  """A sequence of blocks, each read when asked for."""

  def __len__(self) -> int:
    """The number of blocks."""

  def __getitem__(self, index: int) -> Block:
    """One block; IndexError past the end."""


class ArrayBlocks:
  """Blocks of arrays that are sliced by rows; serials count from zero."""

  def __init__(self, embeddings, labels, ids, *, block_rows: int):
    """Blocks of block_rows rows; the last may be shorter.

    Args:
      embeddings: float32 [N, D], of any kind that `embeddings[a:b]` and
        numpy.asarray understand.
      labels: integers [N], likewise.
      ids: strings [N], likewise.
      block_rows: rows per block.

    Raises:
      ValueError: lengths differ, the embeddings are not [N, D], or no rows.
    """
    shape = tuple(embeddings.shape)
    if len(shape) != 2 or not shape[0]:
      raise ValueError(f"embeddings must be [N, D] with rows; got {shape}.")
    if not shape[0] == len(labels) == len(ids):
      raise ValueError(
        f"{shape[0]} embeddings, {len(labels)} labels and {len(ids)} ids: one"
        " of each is needed for every row."
      )
    if block_rows < 1:
      raise ValueError(f"block_rows must be positive; got {block_rows}.")
    self._arrays = embeddings, labels, ids
    self._num_rows, self._block_rows = shape[0], block_rows

  @classmethod
  def from_directory(
    cls, path: str | os.PathLike, *, block_rows: int
  ) -> "ArrayBlocks":
    """Blocks of embeddings.npy, labels.npy and ids.npy, read when asked for.

    Raises:
      FileNotFoundError: one of the three is missing.
    """
    arrays = [ArrayFile(os.path.join(path, f"{name}.npy")) for name in _ARRAYS]
    return cls(*arrays, block_rows=block_rows)

  def __len__(self) -> int:
    """The number of blocks."""
    return math.ceil(self._num_rows / self._block_rows)

  def __getitem__(self, index: int) -> Block:
    """One block, read now."""
    if not 0 <= index < len(self):
      raise IndexError(f"Block {index} of {len(self)}.")
    start = index * self._block_rows
    stop = min(start + self._block_rows, self._num_rows)
    embeddings, labels, ids = (np.asarray(a[start:stop]) for a in self._arrays)
    return Block(
      embeddings=embeddings,
      labels=labels.astype(np.int32),
      ids=ids,
      serials=np.arange(start, stop, dtype=np.int32),
    )


class ArrayFile:
  """A .npy file that is read by slices of rows, past the system's cache.

  Where that is not possible, slices are mapped. (One map of the whole file
  would keep every page that was ever read in the process's resident memory.)
  """

  def __init__(self, path: str | os.PathLike):
    """Reads the header.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a Fortran-ordered array, or Python objects.
    """
    whole = np.load(path, mmap_mode="r", allow_pickle=False)
    if not whole.flags.c_contiguous:
      raise ValueError(f"{path} is in Fortran order: rows are not contiguous.")
    self._path, self._offset = path, whole.offset
    self.shape, self.dtype = whole.shape, whole.dtype

  def __len__(self) -> int:
    """The number of rows."""
    return self.shape[0]

  def __getitem__(self, rows: slice) -> np.ndarray:
    """These consecutive rows."""
    start, stop, step = rows.indices(len(self))
    if step != 1:
      raise ValueError("Only consecutive rows can be read.")
    row_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:]))
    shape = (max(0, stop - start), *self.shape[1:])
    offset = self._offset + start * row_bytes
    data = direct_files.read(self._path, offset, shape[0] * row_bytes)
    if data is not None:
      return data.view(self.dtype).reshape(shape)
    return np.memmap(
      self._path, self.dtype, mode="r", offset=offset, shape=shape
    )


_ARRAYS = ("embeddings", "labels", "ids")


def write_directory(path: str | os.PathLike, embedded: EmbeddedSet) -> None:
  """Writes the three files that ArrayBlocks.from_directory reads."""
  os.makedirs(path, exist_ok=True)
  arrays = (embedded.embeddings, embedded.labels, embedded.ids.astype(str))
  for name, values in zip(_ARRAYS, arrays, strict=True):
    np.save(os.path.join(path, f"{name}.npy"), values, allow_pickle=False)


def strings(ids: np.ndarray) -> np.ndarray:
  """Ids of any string type as an object array of str."""
  if ids.dtype.kind == "S":
    ids = np.char.decode(ids, "utf-8")
  return ids.astype(object)


def in_order(blocks: RowBlocks) -> Iterator[Block]:
  """The blocks one after the other, each read when its turn comes."""
  return (blocks[index] for index in range(len(blocks)))
