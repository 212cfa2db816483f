"""A whole data source as unit embeddings: on every device, resumable, exact.

  embedded = embed(encoder, source, cache_dir="cache")
  embedded, report = embed_with_report(encoder, source, cache_dir="cache")
  report.skipped                    # images that could not be read, and why

A device is always given batch_size consecutive rows of the source, starting at
a multiple of batch_size, and always runs the same program on them. What a row
becomes therefore depends neither on the number of devices or processes nor on
where an earlier run was stopped: the bits are the same.
"""

import dataclasses
import os
import time

import jax
import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.data.batching import Skipped, batches
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.blocks import BLOCK_ROWS, BlockCache
from visual_memory.encoders.data_parallel import embed_batches, local_mesh
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.share import Share
from visual_memory.progress import Progress
from visual_memory.types import EmbeddedSet, check_unit_rows, embedded_set


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedReport:
  """What an embedding job did, over all processes.

  Attributes:
    num_images: images in the source.
    num_reused: images whose result was found in the cache.
    skipped: the images that could not be read, in the order of the source.
    elapsed_s: seconds that the job took.
    images_per_s: images read and embedded in this run, per second.
  """

  num_images: int
  num_reused: int
  skipped: tuple[Skipped, ...]
  elapsed_s: float
  images_per_s: float


def embed(
  encoder: Encoder,
  source: ImageSource,
  *,
  mesh: Mesh | None = None,
  batch_size: int | None = None,
  cache_dir: str | os.PathLike | None = None,
  num_workers: int | None = None,
  progress: bool = True,
) -> EmbeddedSet:
  """The embeddings of a source: `embed_with_report` without its report."""
  embedded, _ = embed_with_report(
    encoder,
    source,
    mesh=mesh,
    batch_size=batch_size,
    cache_dir=cache_dir,
    num_workers=num_workers,
    progress=progress,
  )
  return embedded


def embed_with_report(
  encoder: Encoder,
  source: ImageSource,
  *,
  mesh: Mesh | None = None,
  batch_size: int | None = None,
  cache_dir: str | os.PathLike | None = None,
  num_workers: int | None = None,
  progress: bool = True,
) -> tuple[EmbeddedSet, EmbedReport]:
  """Embeds every readable image of a source, in its order.

  With several processes each reads its own share of the rows and runs its own
  devices of the mesh; at the end all of them hold the whole result. Some rows
  of a source: `data.selection.subset`.

  Args:
    encoder: makes the pixels and the embeddings.
    source: N labelled images; the same in every process.
    mesh: the devices to use; all of them by default.
    batch_size: images per device at a time, a power of two up to 1024; by
      default 32 on CPU and 256 elsewhere. Another size gives the same rows but
      for rounding.
    cache_dir: keeps finished blocks of rows, so that a stopped run continues
      and a finished one is only read. Processes may share it or not. Delete it
      to try skipped images again. None keeps nothing.
    num_workers: threads that read images; one for each core by default.
    progress: print progress to standard error, in the lead process.

  Raises:
    ValueError: a batch size that is not allowed, no readable image at all, or
      an encoder that gives NaN or infinity.
  """
  start_s = time.monotonic()
  mesh = distributed.make_mesh() if mesh is None else mesh
  batch_size = _checked_batch_size(batch_size, mesh)
  cache = None if cache_dir is None else _open_cache(cache_dir, encoder, source)
  share = Share(len(source), dim=encoder.dim, mesh=mesh)
  todo = share.load(cache)
  if len(todo):
    local = local_mesh(mesh)
    host_batches = batches(
      source,
      encoder.preprocess,
      rows=todo,
      batch_size=batch_size * local.size,
      num_workers=num_workers,
    )
    with _counter(len(todo), enabled=progress) as counter:
      for block in embed_batches(encoder, host_batches, mesh=local):
        check_unit_rows(block.embeddings, source.ids[block.rows])
        share.put(block)
        counter.advance(len(block.rows) + len(block.skipped))
        share.save(cache, done=int(todo[counter.done - 1]) + 1)
  embedded, skipped = _whole(share, encoder=encoder, source=source)
  counts = distributed.gather_rows(np.asarray([len(todo)], np.int32))
  elapsed_s = time.monotonic() - start_s
  return embedded, EmbedReport(
    num_images=len(source),
    num_reused=len(source) - int(counts.sum()),
    skipped=skipped,
    elapsed_s=elapsed_s,
    images_per_s=int(counts.sum()) / elapsed_s,
  )


def _whole(
  share: Share, *, encoder: Encoder, source: ImageSource
) -> tuple[EmbeddedSet, tuple[Skipped, ...]]:
  """The shares of all processes put together."""
  rows, embeddings, skipped = share.gather()
  if len(source) and not len(rows):
    raise ValueError(
      f"None of the {len(source)} images can be read; the first,"
      f" {skipped[0].id!r}: {skipped[0].reason}."
    )
  embedded = embedded_set(
    embeddings,
    source.labels[rows],
    source.ids[rows],
    class_names=source.class_names,
    fingerprint=encoder.fingerprint,
  )
  return embedded, skipped


def _counter(total: int, *, enabled: bool) -> Progress:
  """Progress over this process's images, printed by the lead."""
  alone = jax.process_count() == 1
  return Progress(
    total,
    what="images" if alone else "images of this process",
    enabled=enabled and distributed.is_lead(),
  )


def _checked_batch_size(batch_size: int | None, mesh: Mesh) -> int:
  """The images per device, which must divide a block."""
  if batch_size is None:
    return 32 if mesh.devices.flat[0].platform == "cpu" else 256
  if batch_size < 1 or BLOCK_ROWS % batch_size:
    raise ValueError(
      f"batch_size {batch_size} is not a power of two from 1 to {BLOCK_ROWS}"
      " (images per device at a time)."
    )
  return batch_size


def _open_cache(
  cache_dir: str | os.PathLike, encoder: Encoder, source: ImageSource
) -> BlockCache:
  """The cache of this encoder's embeddings of this source."""
  return BlockCache(
    cache_dir,
    key={
      "encoder": encoder.fingerprint,
      "source": source.fingerprint,
      "num_rows": len(source),
      "dim": encoder.dim,
      "block_rows": BLOCK_ROWS,
    },
  )
