"""Batches of images for training, in an order that belongs to (seed, step).

  feed = source_feed(source, size=256, batch_size=512, seed=0, group=1)
  for batch in feed.batches(first_step, mesh, rows=512):
    state, metrics = step(state, batch)

Which images a step sees depends neither on the number of devices or processes
nor on where a stopped run is taken up again. Pixels are uint8 until they are on
the devices, where views are cropped from them.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.data import batching, preprocess
from visual_memory.data.image_source import ImageSource
from visual_memory.pretraining.step import named_key


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedBatch:
  """One batch on the devices; its last rows may repeat, to fill the mesh.

  Attributes:
    images: uint8 [R, H, H, 3], rows split over the mesh: whole pictures,
      squeezed to squares.
    labels: int32 [R].
    aspects: width over height of the pictures before, float32 [R].
    skipped: images of this process that could not be read; each was replaced
      by its neighbor in the batch.
  """

  images: jax.Array
  labels: jax.Array
  aspects: jax.Array
  skipped: tuple[batching.Skipped, ...] = ()


@runtime_checkable
class Feed(Protocol):
  """Endless batches.

  Attributes:
    identity: plain values that fix the data; a run resumes only with its own.
  """

  identity: dict[str, Any]

  def batches(
    self, first_step: int, mesh: Mesh, *, rows: int
  ) -> Iterator[FedBatch]:
    """The batches of first_step and all steps after it.

    Args:
      first_step: steps before it are passed over.
      mesh: the devices.
      rows: R, a multiple of the mesh's size, no less than the batch: its last
        image is repeated.
    """
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProceduralFeed:
  """Pictures of random programs, rendered as they are needed.

  Make one with `procedural_feed`.

  Attributes:
    identity: see Feed.
    draw: (keys [R], program_ids [R], mesh=mesh) -> uint8 images [R, S, S, 3];
      pure.
    batch_size: B.
    num_programs: program ids are below this.
    group: pictures of one program in a batch, each from another view.
    seed: of the order.
  """

  identity: dict[str, Any]
  draw: Callable[..., jax.Array]
  batch_size: int
  num_programs: int
  group: int
  seed: int

  def batches(
    self, first_step: int, mesh: Mesh, *, rows: int
  ) -> Iterator[FedBatch]:
    """See Feed."""
    sharding = distributed.row_sharding(mesh)
    root = named_key(self.seed, "views")
    keys_of = jax.jit(
      lambda step, views: jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.fold_in(root, step), views
      ),
      out_shardings=sharding,
    )
    number = np.minimum(np.arange(rows), self.batch_size - 1)
    views, which = np.divmod(number, self.batch_size // self.group)
    views = distributed.shard_rows(views.astype(np.int32), mesh)
    aspects = distributed.shard_rows(np.ones(rows, np.float32), mesh)
    step = first_step
    while True:
      ids = distributed.shard_rows(self.program_ids(step)[which], mesh)
      images = self.draw(keys_of(step, views), ids, mesh=mesh)
      yield FedBatch(images=images, labels=ids, aspects=aspects)
      step += 1

  def program_ids(self, step: int) -> np.ndarray:
    """The programs that a step shows, int32 [B / group]."""
    random = np.random.default_rng([self.seed, step])
    count = self.batch_size // self.group
    return random.integers(self.num_programs, size=count).astype(np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFeed:
  """Images of a source, each once per epoch; make one with `source_feed`.

  Attributes:
    identity: see Feed.
    source: the images.
    size: side to which they are brought.
    batch_size: B, over all processes.
    seed: of the order.
    group: consecutive images of one class in the order.
  """

  identity: dict[str, Any]
  source: ImageSource
  size: int
  batch_size: int
  seed: int
  group: int

  @property
  def steps_per_epoch(self) -> int:
    """Whole batches in one pass over the source."""
    return len(self.source) // self.batch_size

  def batches(
    self, first_step: int, mesh: Mesh, *, rows: int
  ) -> Iterator[FedBatch]:
    """See Feed."""
    share = distributed.process_rows(rows)
    sharding = distributed.row_sharding(mesh)
    put = functools.partial(jax.make_array_from_process_local_data, sharding)
    # The whole picture at a fixed shape: views are cropped from all of it.
    squeeze = preprocess.square(self.size)
    for batch in batching.pixel_batches(
      self.source,
      squeeze,
      batch_rows=(step[share] for step in self._steps(first_step, rows)),
    ):
      slots = _replaced(batch)
      yield FedBatch(
        images=put(batch.pixels[slots]),
        labels=put(self.source.labels[batch.rows[slots]].astype(np.int32)),
        aspects=put(batch.aspects[slots]),
        skipped=batch.skipped,
      )

  def _steps(self, first_step: int, rows: int) -> Iterator[np.ndarray]:
    """For each step from first_step on, the source's rows of its batch, [R]."""
    number = np.minimum(np.arange(rows), self.batch_size - 1)
    epoch, done = divmod(first_step, self.steps_per_epoch)
    while True:
      order = self.order(epoch)
      for step in range(done, self.steps_per_epoch):
        yield order[step * self.batch_size + number]
      epoch, done = epoch + 1, 0

  def order(self, epoch: int) -> np.ndarray:
    """All rows in the order of an epoch; groups share a class.

    A class whose size is no multiple of the group has its last images apart.
    """
    random = np.random.default_rng([self.seed, epoch])
    shuffled = random.permutation(len(self.source))
    if self.group == 1:
      return shuffled
    by_class = shuffled[np.argsort(self.source.labels[shuffled], kind="stable")]
    labels = self.source.labels[by_class]
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    within = np.arange(len(labels)) - np.repeat(
      starts, np.diff(np.r_[starts, len(labels)])
    )
    # Rows of one class, `group` at a time, get one random place together.
    number = np.cumsum(
      np.r_[True, (labels[1:] != labels[:-1]) | (within[1:] % self.group == 0)]
    )
    places = random.permutation(number[-1] + 1)
    return by_class[np.argsort(places[number], kind="stable")]


def procedural_feed(
  draw: Callable[..., jax.Array],
  *,
  identity: dict[str, Any],
  batch_size: int,
  num_programs: int,
  group: int,
  seed: int,
) -> ProceduralFeed:
  """A feed of pictures that are rendered on the devices.

  Args:
    draw: (keys [R], program_ids [R], mesh=mesh) -> uint8 images [R, S, S, 3];
      pure.
    identity: plain values that fix what draw gives.
    batch_size: images per step, over all processes.
    num_programs: program ids are below this.
    group: pictures of one program in a batch.
    seed: of the order.

  Raises:
    ValueError: groups do not fill the batch.
  """
  if group < 1 or batch_size % group:
    raise ValueError(
      f"A batch of {batch_size} pictures is not a whole number of groups of"
      f" {group}."
    )
  return ProceduralFeed(
    identity={"num_programs": num_programs, "group": group, **identity},
    draw=draw,
    batch_size=batch_size,
    num_programs=num_programs,
    group=group,
    seed=seed,
  )


def source_feed(
  source: ImageSource,
  *,
  size: int,
  batch_size: int,
  seed: int,
  group: int,
) -> SourceFeed:
  """A feed over a source.

  Args:
    source: a folder, a TFDS dataset, a pool, ...
    size: side of the squares that views are cropped from, in pixels.
    batch_size: images per step, over all processes.
    seed: of the order.
    group: images of one class that follow each other; 1 ignores classes.

  Raises:
    ValueError: fewer images than a batch.
  """
  if len(source) < batch_size:
    raise ValueError(
      f"The source has {len(source)} images, fewer than a batch of"
      f" {batch_size}."
    )
  identity = {
    "source": source.fingerprint,
    "num_images": len(source),
    "size": size,
    "group": group,
  }
  return SourceFeed(
    identity=identity,
    source=source,
    size=size,
    batch_size=batch_size,
    seed=seed,
    group=group,
  )


def _replaced(batch: batching.PixelBatch) -> np.ndarray:
  """For each slot the slot to use: itself, or the last readable before it."""
  good = np.flatnonzero(batch.aspects)
  if not len(good):
    first = batch.skipped[0]
    raise ValueError(
      f"No image of a batch can be read; the first, {first.id!r}:"
      f" {first.reason}."
    )
  places = np.searchsorted(good, np.arange(len(batch.rows)), side="right") - 1
  return good[np.maximum(places, 0)]
