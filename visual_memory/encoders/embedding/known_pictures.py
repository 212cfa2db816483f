"""Pictures that another source of a cache directory had: encoded only once.

A subset, a new split or another experiment over the same pictures finds their
embeddings in the blocks of those that came before. A picture is known by a
hash of the pixels that the encoder is given, so by its content whatever its
file is called; encoder and preprocessing are those of the block's key. Where
the device resizes, it is the bytes that the device is given: what a host has
resized is not found by them, nor the other way round.
"""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures

import numpy as np
from jaxtyping import Bool, Float32

from visual_memory.data.batching import PADDING, HostBatch
from visual_memory.encoders.embedding import blocks
from visual_memory.types import Batch

_DIGEST = "U32"
"""Hexadecimal digits."""

_BLOCKS_HELD = 64
"""Blocks of others that are held at a time: some 100 MB of D = 384."""

_HASHED_BYTES = 1 << 19
"""Of images in a task: half a millisecond's work."""


class KnownPictures:
  """What the other sources' blocks hold of one kind of embedding.

  Blocks that others write or delete meanwhile do no harm: what is there at the
  moment is used, what is damaged or gone is encoded anew.
  """

  def __init__(self, cache: blocks.BlockCache):
    """Lists the pictures of the finished blocks, without their embeddings."""
    self._records = list(cache.others())
    names = [np.asarray(blocks.pictures_of(path), _DIGEST)
             for path in self._records]  # fmt: skip
    counts = np.asarray([len(found) for found in names], np.int64)
    pictures = np.concatenate([np.zeros(0, _DIGEST), *names])
    order = np.argsort(pictures, kind="stable")
    self._pictures = pictures[order]
    self._block = np.repeat(np.arange(len(names)), counts)[order]
    self._read = functools.lru_cache(_BLOCKS_HELD)(blocks.read_block)

  def __len__(self) -> int:
    """How many pictures are listed."""
    return len(self._pictures)

  def find(
    self, pictures: np.ndarray
  ) -> tuple[Bool[np.ndarray, "B"], Float32[np.ndarray, "N *row"]]:
    """Which of these pictures are known, [B], and the embeddings of those."""
    if not len(self):
      return np.zeros(len(pictures), bool), np.zeros(0, np.float32)
    places = np.searchsorted(self._pictures, pictures)
    places = np.minimum(places, len(self) - 1)
    known = self._pictures[places] == pictures
    values = {}
    for row in np.flatnonzero(known)[np.argsort(self._block[places[known]])]:
      block = self._read(self._records[self._block[places[row]]])
      found = [] if block is None else np.flatnonzero(
        block.pictures == pictures[row]
      )  # fmt: skip
      if len(found):
        values[row] = block.embeddings[found[0]]
    known[:] = False
    known[list(values)] = True
    found = [values[row] for row in sorted(values)]
    return known, np.asarray(found, np.float32)


def to_encode(
  host_batches: Iterable[HostBatch],
  known: KnownPictures,
  *,
  name: Callable[[np.ndarray, np.ndarray], None],
  take: Callable[[blocks.Block], None],
  num_workers: int | None,
) -> Iterator[HostBatch]:
  """The images that are not known, in batches of the same size.

  A batch of which nothing is known is given as it came; of the others, what is
  not known fills further batches, so that an image may be encoded in another
  place of a batch, and its embedding differ by rounding.

  Args:
    host_batches: the images.
    known: what need not be encoded.
    name: is told what the pixels of which rows hash to, of all images.
    take: is given the rows that are known, and what could not be read.
    num_workers: threads that hash.
  """
  images, rows = [], []
  with futures.ThreadPoolExecutor(num_workers, "hash") as pool:
    for batch in host_batches:
      given = batch.data.images[batch.data.mask]
      own = batch.rows[batch.data.mask]
      # A task for each would cost more than to hash a small image does.
      some = max(1, _HASHED_BYTES * len(given) // max(1, given.nbytes))
      parts = [given[i : i + some] for i in range(0, len(given), some)]
      hashed = itertools.chain.from_iterable(pool.map(_digests, parts))
      pictures = np.asarray(list(hashed), _DIGEST)
      name(own, pictures)
      found, embeddings = known.find(pictures)
      if not found.any():
        yield batch
        continue
      take(
        blocks.Block(
          rows=own[found].astype(np.int32),
          embeddings=embeddings,
          skipped=batch.skipped,
        )
      )
      images.extend(given[~found])
      rows.extend(own[~found])
      if len(rows) >= len(batch.rows):
        yield _batch(images, rows, len(batch.rows))
    if rows:
      yield _batch(images, rows, len(batch.rows))


def _digests(images: np.ndarray) -> list[str]:
  return [_digest(pixels) for pixels in images]


def _digest(pixels: np.ndarray) -> str:
  """The hash of one image's pixels; of their bytes, so on one kind of machine.

  hashlib lets go of the interpreter lock meanwhile.
  """
  found = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
  found.update(np.ascontiguousarray(pixels))
  return found.hexdigest()


def _batch(images: list, rows: list, size: int) -> HostBatch:
  """The first images, which leave the lists, padded to a batch."""
  count = min(size, len(rows))
  batch = HostBatch(
    data=Batch(
      images=np.zeros((size, *images[0].shape), images[0].dtype),
      mask=np.arange(size) < count,
    ),
    rows=np.full(size, PADDING, np.int64),
    skipped=(),
  )
  batch.data.images[:count], batch.rows[:count] = images[:count], rows[:count]
  del images[:count], rows[:count]
  return batch
