"""Pictures through an encoder, handed over every few seconds.

  for part in embed_by_time(encoder, source):
    part.rows, part.embeddings, part.failed

The devices are given batches of one size, so nothing is compiled again; what is
held is a few seconds of work, however large the pictures are.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float32, Int32
from PIL import Image

from visual_memory import distributed, types
from visual_memory.collection.identity import Judged
from visual_memory.data import contents
from visual_memory.data.batching import batches
from visual_memory.data.decoding import (
  UnreadableImage,
  decode_rgb,
  pixels_of,
)
from visual_memory.data.file_trees import FileTree
from visual_memory.data.image_source import ImageSource, Unlabeled
from visual_memory.encoders.embedding import device_resize
from visual_memory.encoders.embedding.data_parallel import (
  embed_batches,
  local_mesh,
)
from visual_memory.encoders.encoder import Encoder
from visual_memory.progress import Progress

HELD_S = 4.0
"""Seconds of work that a stopped job may lose, and do again."""
_CPU_BATCH, _DEVICE_BATCH = 16, 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """Some rows of a source.

  Attributes:
    rows: their positions, [N].
    embeddings: theirs, [N, D].
    failed: pictures before the next part that cannot be read: (id, reason).
  """

  rows: Int32[np.ndarray, "N"]
  embeddings: Float32[np.ndarray, "N D"]
  failed: tuple[tuple[str, str], ...]

  def take(self, mask: np.ndarray) -> "Part":
    """Those rows alone, without the failed ones."""
    return Part(
      rows=self.rows[mask], embeddings=self.embeddings[mask], failed=()
    )


class PlannedSource(Unlabeled):
  """The pictures of files that were looked at, as they were then."""

  def __init__(self, entries: Sequence[Judged], trees: Sequence[FileTree]):
    """Nothing is read before it is asked for."""
    ids = [entry.found.path for entry in entries]
    super().__init__(ids, fingerprint="planned")
    self._entries, self._trees = entries, trees

  def __getitem__(self, row) -> types.Example:
    """The picture at this position; UnreadableImage as `unpacked`."""
    image = pixels_of(self.unpacked(row))
    return types.Example(image=image, label=types.UNLABELED, id=self.ids[row])

  def unpacked(self, row) -> Image.Image:
    """Its pixels alone.

    Raises:
      UnreadableImage: damaged, gone, or another one than when it was looked
        at.
    """
    file = self._entries[row].found
    try:
      data = self._trees[row].read(file.path)
    except OSError as error:
      reason = error.strerror or str(error)
      raise UnreadableImage(file.path, reason) from error
    if contents.of_bytes(data) != file.content:
      raise UnreadableImage(file.path, "it changed while it was being added")
    return decode_rgb(data, id=file.path, profile=True)


def embed_by_time(
  encoder: Encoder,
  source: ImageSource,
  *,
  batch_size: int | None = None,
  counter: Progress | None = None,
  held_s: float | None = None,
  num_workers: int | None = None,
) -> Iterator[Part]:
  """The embeddings of a source in its order, in parts of a few seconds' work.

  If the loop that takes them is interrupted while they are made, what is done
  is handed over first, and the interruption follows.

  Args:
    encoder: makes them.
    source: the pictures.
    batch_size: images given to a device at a time; by default 16 on CPU and
      256 elsewhere.
    counter: advanced by every picture.
    held_s: seconds of work in a part; HELD_S by default.
    num_workers: threads that decode.

  Raises:
    ValueError: a batch size below one.
  """
  if not len(source):
    return
  held_s = HELD_S if held_s is None else held_s
  local = local_mesh(distributed.make_mesh())
  cpu = jax.default_backend() == "cpu"
  usual = _CPU_BATCH if cpu else _DEVICE_BATCH
  size = (usual if batch_size is None else batch_size) * local.size
  kept = device_resize.chosen("auto", encoder.preprocess, source, mesh=local)
  host = batches(
    source, encoder.preprocess, batch_size=size, num_workers=num_workers,
    kept=kept,
  )  # fmt: skip
  blocks, begun = [], time.monotonic()
  interrupted = None
  results = embed_batches(encoder, host, mesh=local, kept=kept)
  while True:
    try:
      block = next(results, None)
    except KeyboardInterrupt as error:
      block, interrupted = None, error
    if block is not None:
      blocks.append(block)
      if counter is not None:
        counter.advance(len(block.rows) + len(block.skipped))
    if blocks and (block is None or time.monotonic() - begun >= held_s):
      yield _part(blocks)
      blocks, begun = [], time.monotonic()
    if interrupted is not None:
      raise interrupted
    if block is None:
      return


def _part(blocks) -> Part:
  """Blocks, joined."""
  return Part(
    rows=np.concatenate([block.rows for block in blocks]).astype(np.int32),
    embeddings=np.concatenate([block.embeddings for block in blocks]),
    failed=tuple(
      (image.id, image.reason) for block in blocks for image in block.skipped
    ),
  )
