"""A source through an encoder, block by block: what a stopped run continues.

A device is always given batch_size consecutive rows of the source, starting at
a multiple of batch_size, and always runs the same program on them. What a row
becomes therefore depends neither on the number of devices or processes nor on
where an earlier run was stopped: the bits are the same.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, Int32

from visual_memory import distributed, showing
from visual_memory.data.batching import Skipped, batches
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.embedding import device_resize
from visual_memory.encoders.embedding.blocks import Block, BlockCache
from visual_memory.encoders.embedding.data_parallel import (
  embed_batches,
  local_mesh,
)
from visual_memory.encoders.embedding.known_pictures import (
  KnownPictures,
  to_encode,
)
from visual_memory.encoders.embedding.own_blocks import Share
from visual_memory.encoders.encoder import Encoder
from visual_memory.progress import Progress


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class EmbedReport:
  """What an embedding job did, over all processes.

  Attributes:
    num_images: images in the source.
    num_reused: images whose result was found in the cache, of this source or
      of another with the same pictures.
    skipped: the images that could not be read, in the order of the source.
    elapsed_s: seconds that the job took.
    images_per_s: images embedded in this run, per second.
  """

  num_images: int
  num_reused: int
  skipped: tuple[Skipped, ...]
  elapsed_s: float
  images_per_s: float

  @property
  def what_was_skipped(self) -> str:
    """A sentence about the images that could not be read; "" if all could."""
    if not self.skipped:
      return ""
    first = self.skipped[0]
    of = showing.counted(self.num_images, "image")
    return (
      f"{len(self.skipped):,} of {of} could not be read and are left out, the"
      f" first of them {first.id!r}: {first.reason}."
    )

  def __repr__(self) -> str:
    """How many images, how many of them skipped, and how long it took."""
    return showing.line("EmbedReport", *self._facts())

  def _repr_html_(self) -> str:
    """The same as a card, with the images that were skipped."""
    rows = [[showing.text(x.id), showing.text(x.reason)] for x in self.skipped]
    parts = [showing.table(("skipped", "why"), rows[:20])] if rows else []
    return showing.card("EmbedReport", self._facts(), parts)

  def _facts(self) -> tuple[str, ...]:
    """What is worth knowing."""
    return (
      showing.counted(self.num_images, "image"),
      f"{len(self.skipped):,} skipped",
      f"{self.num_reused:,} from the cache",
      f"{self.elapsed_s:,.1f} s",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """What is kept of each image, and in which pieces.

  Attributes:
    row_shape: of what is kept of an image: (D,), or (P, D) for patches.
    block_rows: images in a block, a power of two.
    key: JSON values that the kept values depend on, beside encoder and source.
    keep: from what the encoder gives for a block to what is kept of it.
    by_content: whether that depends on an image's pixels alone, so that other
      sources' blocks may have it.
  """

  row_shape: tuple[int, ...]
  block_rows: int
  key: dict[str, Any]
  keep: Callable[[Block], Block]
  by_content: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How a job runs; see `embed.embed_with_report`."""

  mesh: Mesh | None = None
  batch_size: int | None = None
  cache_dir: str | os.PathLike | None = None
  num_workers: int | None = None
  resize_on: str = "auto"
  progress: bool = True


def run(
  encoder: Encoder, source: ImageSource, layout: Layout, options: Options
) -> tuple[Int32[np.ndarray, "N"], Float32[np.ndarray, "N *row"], EmbedReport]:
  """The rows of the source that can be read, what is kept of each, a report.

  Raises:
    ValueError: a batch size that is not allowed, no readable image at all, or
      an encoder that gives NaN or infinity.
  """
  start_s = time.monotonic()
  mesh = distributed.make_mesh() if options.mesh is None else options.mesh
  batch_size = _checked_batch_size(options.batch_size, layout.block_rows, mesh)
  cache = _open_cache(options.cache_dir, encoder, source, layout)
  share = Share(
    len(source),
    row_shape=layout.row_shape,
    block_rows=layout.block_rows,
    mesh=mesh,
  )
  todo, num_known = share.load(cache), 0
  if len(todo):
    local = local_mesh(mesh)
    kept = device_resize.chosen(
      options.resize_on, encoder.preprocess, source, mesh=local
    )
    host_batches = batches(
      source,
      encoder.preprocess,
      rows=todo,
      batch_size=batch_size * local.size,
      num_workers=options.num_workers,
      kept=kept,
    )
    with _counter(len(todo), enabled=options.progress) as counter:

      def take(block, *, known=True):
        nonlocal num_known
        share.put(block)
        counter.advance(len(block.rows) + len(block.skipped))
        num_known += len(block.rows) if known else 0
        share.save(cache)

      if cache is not None and layout.by_content:
        host_batches = to_encode(
          host_batches, KnownPictures(cache), name=share.name, take=take,
          num_workers=options.num_workers,
        )  # fmt: skip
      for block in embed_batches(encoder, host_batches, mesh=local, kept=kept):
        take(layout.keep(block), known=False)
  rows, embeddings, skipped = share.gather()
  if len(source) and not len(rows):
    raise ValueError(
      f"None of the {len(source)} images can be read; the first,"
      f" {skipped[0].id!r}: {skipped[0].reason}."
    )
  counts = distributed.gather_rows(
    np.asarray([len(todo) - num_known], np.int32)
  )
  elapsed_s = time.monotonic() - start_s
  return (
    rows,
    embeddings,
    EmbedReport(
      num_images=len(source),
      num_reused=len(source) - int(counts.sum()),
      skipped=skipped,
      elapsed_s=elapsed_s,
      images_per_s=int(counts.sum()) / elapsed_s,
    ),
  )


def _counter(total: int, *, enabled: bool) -> Progress:
  """Progress over this process's images, printed by the lead."""
  alone = jax.process_count() == 1
  return Progress(
    total,
    what="images" if alone else "images of this process",
    enabled=enabled and distributed.is_lead(),
  )


def _checked_batch_size(
  batch_size: int | None, block_rows: int, mesh: Mesh
) -> int:
  """The images per device, which must divide a block."""
  if batch_size is None:
    usual = 32 if mesh.devices.flat[0].platform == "cpu" else 256
    return min(usual, block_rows)
  if batch_size < 1 or block_rows % batch_size:
    raise ValueError(
      f"batch_size {batch_size} is not a power of two from 1 to {block_rows}"
      " (images per device at a time)."
    )
  return batch_size


def _open_cache(
  cache_dir: str | os.PathLike | None,
  encoder: Encoder,
  source: ImageSource,
  layout: Layout,
) -> BlockCache | None:
  """The cache of this encoder's values of this source."""
  if cache_dir is None:
    return None
  return BlockCache(
    cache_dir,
    key={
      "encoder": encoder.fingerprint,
      "source": source.fingerprint,
      "num_rows": len(source),
      "dim": encoder.dim,
      "block_rows": layout.block_rows,
      **layout.key,
    },
  )
