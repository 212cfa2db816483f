"""The rows of a source that one process embeds: whole blocks of them.

The blocks are divided over the processes that have devices in the mesh. A
share fills up in the order of the source, from the cache and from the devices,
and writes a block to the cache as soon as it is complete.
"""

import collections
import dataclasses
import json

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, Int32

from visual_memory import distributed
from visual_memory.data.batching import Skipped
from visual_memory.encoders.embedding.blocks import Block, BlockCache


class Share:
  """This process's consecutive rows and what is known of them so far."""

  def __init__(
    self,
    num_rows: int,
    *,
    row_shape: tuple[int, ...],
    block_rows: int,
    mesh: Mesh,
  ):
    """The empty share of this process.

    Args:
      num_rows: rows of the whole source.
      row_shape: of what is kept of each: (D,), or (P, D) for P patches.
      block_rows: rows in a block.
      mesh: the devices that embed.
    """
    blocks = _own_blocks(-(-num_rows // block_rows), mesh)
    self._num_rows = num_rows
    self._block_rows = block_rows
    self._blocks = range(blocks.start, blocks.stop)
    self._start = blocks.start * block_rows
    stop = max(self._start, min(blocks.stop * block_rows, num_rows))
    self._embeddings = np.zeros((stop - self._start, *row_shape), np.float32)
    self._embedded = np.zeros(stop - self._start, bool)
    self._done = np.zeros(stop - self._start, bool)  # Or skipped.
    self._pictures = np.zeros(stop - self._start, object)
    self._skipped: list[Skipped] = []
    self._unsaved = collections.deque(self._blocks)

  def load(self, cache: BlockCache | None) -> Int32[np.ndarray, "N"]:
    """Takes finished blocks from the cache; the rows that are left to do."""
    todo = []
    for index in self._blocks:
      block = None if cache is None else cache.read(index)
      if block is None:
        todo.append(index)
      else:
        self.put(block)
    self._unsaved = collections.deque(todo)
    return np.concatenate(
      [np.zeros(0, np.int32), *(self._rows_of(index) for index in todo)]
    )

  def put(self, block: Block) -> None:
    """Takes the results of some rows, finished block or not."""
    self._embeddings[block.rows - self._start] = block.embeddings
    self._embedded[block.rows - self._start] = True
    self._skipped.extend(block.skipped)
    for rows in (block.rows, [image.row for image in block.skipped]):
      self._done[np.asarray(rows, np.int64) - self._start] = True

  def name(self, rows: np.ndarray, pictures: np.ndarray) -> None:
    """Remembers what the pixels of some rows hash to."""
    self._pictures[rows - self._start] = pictures

  def save(self, cache: BlockCache | None) -> None:
    """Writes every block whose rows are all done, once, in their order."""
    while self._unsaved and self._is_done(self._unsaved[0]):
      index = self._unsaved.popleft()
      if cache is not None:
        cache.write(index, self._block(index))

  def gather(
    self,
  ) -> tuple[
    Int32[np.ndarray, "N"], Float32[np.ndarray, "N *row"], tuple[Skipped, ...]
  ]:
    """The rows, embeddings and skipped images of all processes, everywhere.

    Raises:
      RuntimeError: some row of the source was not done exactly once.
    """
    everything = self._embedded.all()
    embeddings = self._embeddings[... if everything else self._embedded]
    rows = np.flatnonzero(self._embedded).astype(np.int32) + self._start
    rows = distributed.gather_rows(rows.astype(np.int32))
    embeddings = distributed.gather_rows(embeddings)
    skipped = _gather_skipped(self._skipped)
    done = np.concatenate([rows, [image.row for image in skipped]])
    if not np.array_equal(np.sort(done), np.arange(self._num_rows)):
      raise RuntimeError(
        f"{len(done)} results for {self._num_rows} rows: every row must be"
        " embedded exactly once. Do all processes read the same source?"
      )
    return rows, embeddings, skipped

  def _is_done(self, index: int) -> bool:
    return bool(self._done[self._rows_of(index) - self._start].all())

  def _rows_of(self, index: int) -> Int32[np.ndarray, "N"]:
    start = index * self._block_rows
    stop = min(start + self._block_rows, self._num_rows)
    return np.arange(start, stop, dtype=np.int32)

  def _block(self, index: int) -> Block:
    rows = self._rows_of(index)
    rows = rows[self._embedded[rows - self._start]]
    return Block(
      rows=rows,
      embeddings=self._embeddings[rows - self._start],
      skipped=tuple(
        image
        for image in self._skipped
        if image.row // self._block_rows == index
      ),
      pictures=self._pictures[rows - self._start],
    )


def _own_blocks(num_blocks: int, mesh: Mesh) -> slice:
  """The blocks of this process; none if the mesh has none of its devices."""
  processes = sorted({device.process_index for device in mesh.devices.flat})
  if jax.process_index() not in processes:
    return slice(0, 0)
  return distributed.process_rows(
    num_blocks,
    index=processes.index(jax.process_index()),
    count=len(processes),
  )


def _gather_skipped(skipped: list[Skipped]) -> tuple[Skipped, ...]:
  """The skipped images of all processes, in the order of the source."""
  lines = "".join(
    json.dumps(dataclasses.asdict(image)) + "\n" for image in skipped
  )
  data = np.frombuffer(lines.encode(), np.uint8)
  lines = distributed.gather_rows(data).tobytes().decode().splitlines()
  images = [Skipped(**json.loads(line)) for line in lines]
  return tuple(sorted(images, key=lambda image: image.row))
