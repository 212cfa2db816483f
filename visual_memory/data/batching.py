"""A source as fixed-shape batches of preprocessed images, decoded ahead.

    for batch in batches(source, preprocess, batch_size=256):
      encode(batch.data)                 # types.Batch, [B, S, S, 3] and mask
      print(batch.rows, batch.skipped)   # positions; images that did not decode

Worker threads decode (Pillow and NumPy let go of the interpreter lock while
they compute), at most `look_ahead` batches in front of the consumer.
"""

import collections
import contextlib
import dataclasses
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from typing import Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int
from PIL import Image

from visual_memory import parallel, types
from visual_memory.data import preprocess as preprocess_lib
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.image_source import ImageSource
from visual_memory.data.preprocess import Preprocess

CHUNK_IMAGES = 32
"""Images that a worker takes at once: enough to hide the cost of a task."""

TINY_PIXELS = 100 * 100
"""Below this, Python's own work per image outweighs the decoder's, and threads
that wait for the interpreter lock halve the speed: one worker is used."""

PADDING = -1
"""The row of a slot that no image was meant for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skipped:
  """An image that could not be read.

  Attributes:
    row: its position in the source.
    id: its id.
    reason: what is wrong with it.
  """

  row: int
  id: str
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostBatch:
  """One batch on the host.

  Attributes:
    data: images [B, S, S, 3] (or what else is kept of them) and mask [B]; a
      padded or skipped slot is all zeros and masked out.
    rows: int64 positions in the source, [B]; PADDING after the last one. A
      skipped image keeps its slot.
    skipped: the images of this batch that could not be read.
  """

  data: types.Batch
  rows: Int[np.ndarray, "B"]
  skipped: tuple[Skipped, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelBatch:
  """One batch of images as they are kept in files: not yet normalized.

  Attributes:
    pixels: [B, S, S, 3] of the preprocessing's pixel_dtype; zeros where an
      image could not be read.
    aspects: width over height of the images before, float32 [B]; zero where an
      image could not be read.
    rows: int64 positions in the source, [B]; PADDING after the last one.
    skipped: the images of this batch that could not be read.
  """

  pixels: np.ndarray
  aspects: Float32[np.ndarray, "B"]
  rows: Int[np.ndarray, "B"]
  skipped: tuple[Skipped, ...]


@runtime_checkable
class Kept(Protocol):
  """What a batch keeps of each image.

  Attributes:
    shape: of an image's slot in a batch.
    dtype: of its numbers.
  """

  shape: tuple[int, ...]
  dtype: type[np.generic]

  def write(self, image: np.ndarray | Image.Image, slot: np.ndarray) -> None:
    """Writes what is kept of an RGB image to its slot, which is all zeros."""
    ...


class Pixels:
  """Resized and cropped pixels of pixel_dtype; or normalized ones, float32."""

  def __init__(self, preprocess: Preprocess, *, normalized: bool):
    """By this preprocessing."""
    self.shape = (*preprocess.shape, 3)
    self.dtype = np.float32 if normalized else preprocess.pixel_dtype
    self._pixels_of = preprocess if normalized else preprocess.resize_and_crop

  def write(self, image: np.ndarray | Image.Image, slot: np.ndarray) -> None:
    """Writes them to the slot."""
    slot[...] = self._pixels_of(image)


def batches(
  source: ImageSource,
  preprocess: Preprocess,
  *,
  batch_size: int,
  rows: Sequence[int] | np.ndarray | None = None,
  num_workers: int | None = None,
  look_ahead: int = 2,
  kept: Kept | None = None,
) -> Iterator[HostBatch]:
  """Batches of a source, in the order of its rows whatever the workers do.

  Holds (look_ahead + 1) * B * S * S * 12 bytes and the images being decoded.
  Leaving the loop, by an exception or KeyboardInterrupt too, stops the
  workers after the images that they have in hand.

  Args:
    source: the images.
    preprocess: the encoder's own.
    batch_size: B; the last batch is padded to it.
    rows: positions to read; all by default.
    num_workers: threads; by default one for each core of this process. Tiny
      images (see TINY_PIXELS) are decoded by one thread in any case.
    look_ahead: batches prepared in front of the consumer.
    kept: what is kept of an image in place of its normalized pixels.

  Raises:
    ValueError: a number below one, or a row outside the source.
  """
  if num_workers is None:
    num_workers = parallel.num_cores()
  if min(batch_size, num_workers, look_ahead) < 1:
    raise ValueError(
      "batch_size, num_workers and look_ahead must be at least 1; got"
      f" {batch_size}, {num_workers} and {look_ahead}."
    )
  rows = np.arange(len(source)) if rows is None else np.asarray(rows, np.int64)
  outside = (rows < 0) | (rows >= len(source))
  if outside.any():
    raise ValueError(
      f"Row {rows[np.argmax(outside)]} is not in a source of {len(source)}"
      " images."
    )
  if _are_tiny(source, preprocess, rows):
    num_workers = 1
  found = _run(
    source,
    Pixels(preprocess, normalized=True) if kept is None else kept,
    (rows[i : i + batch_size] for i in range(0, len(rows), batch_size)),
    batch_size=batch_size,
    num_workers=num_workers,
    look_ahead=look_ahead,
  )
  return _masked(found)


def pixel_batches(
  source: ImageSource,
  preprocess: Preprocess,
  *,
  batch_rows: Iterable[np.ndarray],
  num_workers: int | None = None,
  look_ahead: int = 2,
) -> Iterator[PixelBatch]:
  """Batches of pixels that whoever takes them will normalize, as training does.

  A quarter of the bytes of `batches`, on the host and on the way to a device.

  Args:
    source: the images.
    preprocess: resizes and crops.
    batch_rows: for each batch the positions of its images; may be endless.
    num_workers: threads; by default one for each core of this process.
    look_ahead: batches prepared in front of the consumer.
  """
  num_workers = parallel.num_cores() if num_workers is None else num_workers
  if _are_tiny(source, preprocess, np.zeros(1, np.int64)):
    num_workers = 1
  return _run(
    source,
    Pixels(preprocess, normalized=False),
    batch_rows,
    batch_size=None,
    num_workers=num_workers,
    look_ahead=look_ahead,
  )


def _are_tiny(
  source: ImageSource, preprocess: Preprocess, rows: np.ndarray
) -> bool:
  """Whether the images are too small for threads, judged by the first."""
  if not len(rows) or math.prod(preprocess.shape) > TINY_PIXELS:
    return False
  try:
    height, width, _ = source[rows[0]].image.shape
  except UnreadableImage:
    return False
  return height * width <= TINY_PIXELS


def _run(
  source: ImageSource,
  kept: Kept,
  batch_rows: Iterable[np.ndarray],
  *,
  batch_size: int | None,
  num_workers: int,
  look_ahead: int,
) -> Iterator[PixelBatch]:
  """The generator behind both kinds of batches.

  Args:
    source: the images.
    kept: what a batch keeps of them.
    batch_rows: positions, for each batch.
    batch_size: slots of each batch; as many as positions if None.
    num_workers: threads.
    look_ahead: batches prepared in front of the consumer.
  """
  stop = threading.Event()
  pool = futures.ThreadPoolExecutor(num_workers, thread_name_prefix="decode")

  def submit(rows):
    slots = len(rows) if batch_size is None else batch_size
    images = np.zeros((slots, *kept.shape), kept.dtype)
    aspects = np.zeros(slots, np.float32)
    chunk = min(CHUNK_IMAGES, -(-slots // num_workers))
    tasks = [
      pool.submit(
        _fill,
        source,
        kept,
        rows[first : first + chunk],
        images[: len(rows)][first : first + chunk],
        aspects[: len(rows)][first : first + chunk],
        stop,
      )
      for first in range(0, len(rows), chunk)
    ]
    return rows, images, aspects, tasks

  pending = collections.deque()
  try:
    for rows in batch_rows:
      pending.append(submit(rows))
      if len(pending) > look_ahead:
        yield _collect(*pending.popleft())
    while pending:
      yield _collect(*pending.popleft())
  finally:
    stop.set()
    pool.shutdown(wait=True, cancel_futures=True)


def _fill(
  source: ImageSource,
  kept: Kept,
  rows: np.ndarray,
  images: np.ndarray,
  aspects: np.ndarray,
  stop: threading.Event,
) -> list[Skipped]:
  """Writes what is kept of the images of some rows; returns the unreadable."""
  skipped = []
  for slot, row in enumerate(rows):
    if stop.is_set():
      break
    try:
      image = _unpacked(source, row)
    except UnreadableImage as error:
      skipped.append(Skipped(row=int(row), id=error.id, reason=error.reason))
      continue
    kept.write(image, images[slot])
    height, width = preprocess_lib.sides(image)
    aspects[slot] = width / height
    del image  # Before the next one is decoded: it may be large.
  return skipped


def _unpacked(
  source: ImageSource, row: SupportsIndex
) -> np.ndarray | Image.Image:
  """An image as it is resized with the fewest copies.

  A source of files has it as Pillow does, by a method `unpacked`.
  """
  if hasattr(source, "unpacked"):
    return source.unpacked(row)
  return source[row].image


def _collect(
  batch_rows: np.ndarray,
  images: np.ndarray,
  aspects: np.ndarray,
  tasks: list[futures.Future],
) -> PixelBatch:
  """A batch once all its tasks are done."""
  skipped = tuple(entry for task in tasks for entry in task.result())
  rows = np.full(len(images), PADDING, np.int64)
  rows[: len(batch_rows)] = batch_rows
  return PixelBatch(pixels=images, aspects=aspects, rows=rows, skipped=skipped)


def _masked(found: Iterator[PixelBatch]) -> Iterator[HostBatch]:
  """Batches with a mask."""
  with contextlib.closing(found):
    for batch in found:
      yield HostBatch(
        data=types.Batch(images=batch.pixels, mask=batch.aspects > 0),
        rows=batch.rows,
        skipped=batch.skipped,
      )
