"""A whole data source as unit embeddings: on every device, resumable, exact.

embedded = embed(encoder, source, cache_dir="cache")
embedded, report = embed_with_report(encoder, source, cache_dir="cache")
report.skipped                    # images that could not be read, and why
patches = embed(encoder, source, tokens="patches", per_image=64)
"""

import functools
import os
import warnings

import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.checks import as_class_names
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.embedding import embed_patches, resumable
from visual_memory.encoders.embedding.blocks import Block
from visual_memory.encoders.embedding.resumable import EmbedReport
from visual_memory.encoders.encoder import Encoder
from visual_memory.types import EmbeddedSet, check_unit_rows, embedded_set

__all__ = ["BLOCK_ROWS", "EmbedReport", "embed", "embed_with_report"]

BLOCK_ROWS = 1024
"""Images in a block of the cache; the last block may have fewer."""


def embed(
  encoder: Encoder,
  source: ImageSource,
  *,
  tokens: str = "image",
  per_image: int | None = None,
  seed: int = 0,
  mesh: Mesh | None = None,
  batch_size: int | None = None,
  cache_dir: str | os.PathLike | None = None,
  num_workers: int | None = None,
  resize_on: str = "auto",
  progress: bool = True,
) -> EmbeddedSet:
  """The embeddings of a source: `embed_with_report` without its report.

  A warning says how many images could not be read, and why the first could not;
  `embed_with_report` lists them.
  """
  embedded, report = embed_with_report(
    encoder,
    source,
    tokens=tokens,
    per_image=per_image,
    seed=seed,
    mesh=mesh,
    batch_size=batch_size,
    cache_dir=cache_dir,
    num_workers=num_workers,
    resize_on=resize_on,
    progress=progress,
  )
  if report.skipped and distributed.is_lead():
    warnings.warn(report.what_was_skipped, stacklevel=2)
  return embedded


def embed_with_report(
  encoder: Encoder,
  source: ImageSource,
  *,
  tokens: str = "image",
  per_image: int | None = None,
  seed: int = 0,
  mesh: Mesh | None = None,
  batch_size: int | None = None,
  cache_dir: str | os.PathLike | None = None,
  num_workers: int | None = None,
  resize_on: str = "auto",
  progress: bool = True,
) -> tuple[EmbeddedSet, EmbedReport]:
  """Embeds every readable image of a source, in its order.

  With several processes each reads its own share of the rows and runs its own
  devices of the mesh; at the end all of them hold the whole result. Some rows
  of a source: `data.selection.subset`.

  Args:
    encoder: makes the pixels and the embeddings.
    source: N labelled images; the same in every process.
    tokens: "image": one row for each image; "patches": one for each patch, see
      `embed_patches`.
    per_image: of tokens="patches": how many patches are drawn from an image;
      all by default.
    seed: of that draw.
    mesh: the devices to use; all of them by default.
    batch_size: images per device at a time, a power of two up to 1024 (64 for
      patches); by default 32 on CPU and 256 (64) elsewhere. Another size gives
      the same rows but for rounding.
    cache_dir: keeps finished blocks of rows, so that a stopped run continues
      and a finished one is only read; pictures that another source had (a
      subset, a new split) are read but not encoded again, and equal the first
      embedding to the bit, a fresh one but for rounding. Processes and runs
      may share it. Delete it to try skipped images again. None keeps nothing.
    num_workers: threads that read images; one for each core by default.
    resize_on: "host", "device", or "auto": GPUs and TPUs resize, crop and
      normalize what the host's cores decode, by Pillow's rule, with the same
      bits (`device_resize`), of which one picture is proof first; an encoder of
      another rule, or CPUs, take the host.
    progress: print progress to standard error, in the lead process.

  Raises:
    ValueError: a batch size that is not allowed, two classes of one name, no
      readable image at all, or an encoder that gives NaN or infinity, or that
      has no patches.
  """
  as_class_names(source.class_names)  # Else it would be refused at the end.
  options = resumable.Options(
    mesh=mesh,
    batch_size=batch_size,
    cache_dir=cache_dir,
    num_workers=num_workers,
    resize_on=resize_on,
    progress=progress,
  )
  if tokens == "patches":
    return embed_patches.embed_patches(
      encoder, source, per_image=per_image, seed=seed, options=options
    )
  if tokens != "image" or per_image is not None:
    raise ValueError(
      f"tokens={tokens!r}, per_image={per_image}: tokens is 'image' or"
      " 'patches', and per_image belongs to patches."
    )
  layout = resumable.Layout(
    row_shape=(encoder.dim,),
    block_rows=BLOCK_ROWS,
    key={},
    keep=functools.partial(_checked, source),
  )
  rows, embeddings, report = resumable.run(encoder, source, layout, options)
  embedded = embedded_set(
    embeddings,
    source.labels[rows],
    source.ids[rows],
    class_names=source.class_names,
    fingerprint=encoder.fingerprint,
  )
  return embedded, report


def _checked(source: ImageSource, block: Block) -> Block:
  """The block itself; NaN is found before it reaches the cache."""
  check_unit_rows(block.embeddings, np.asarray(source.ids)[block.rows])
  return block
