"""Batches of images for training, in an order that belongs to (seed, step).

  feed = source_feed(source, size=256, batch_size=512, seed=0, group=1)
  for batch in feed.batches(first_step, mesh):
    step(state, batch.images, batch.labels)

Which images a step sees depends neither on the number of devices or processes
nor on where a stopped run is taken up again.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.data import batching, preprocess
from visual_memory.data.image_source import ImageSource
from visual_memory.pretraining.step import named_key


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedBatch:
  """One batch on the devices.

  Attributes:
    images: uint8 [B, H, H, 3], rows split over the mesh.
    labels: int32 [B].
    skipped: images of this process that could not be read; each was replaced
      by its neighbor in the batch.
  """

  images: jax.Array
  labels: jax.Array
  skipped: tuple[batching.Skipped, ...] = ()


@runtime_checkable
class Feed(Protocol):
  """Endless batches.

  Attributes:
    identity: plain values that fix the data; a run resumes only with its own.
  """

  identity: dict[str, Any]

  def batches(self, first_step: int, mesh: Mesh) -> Iterator[FedBatch]:
    """The batches of first_step and all steps after it."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProceduralFeed:
  """Pictures of random programs, rendered as they are needed.

  Make one with `procedural_feed`.

  Attributes:
    identity: see Feed.
    draw: (key, program_ids [B], mesh=mesh) -> uint8 images [B, S, S, 3]; pure.
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

  def batches(self, first_step: int, mesh: Mesh) -> Iterator[FedBatch]:
    """See Feed."""
    rows = distributed.row_sharding(mesh)
    join = jax.jit(lambda *parts: jnp.concatenate(parts), out_shardings=rows)
    root = named_key(self.seed, "views")
    step = first_step
    while True:
      ids, key = self.program_ids(step), jax.random.fold_in(root, step)
      images = [
        self.draw(jax.random.fold_in(key, view), ids, mesh=mesh)
        for view in range(self.group)
      ]
      labels = distributed.shard_rows(np.tile(ids, self.group), mesh)
      yield FedBatch(images=join(*images), labels=labels)
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

  def batches(self, first_step: int, mesh: Mesh) -> Iterator[FedBatch]:
    """See Feed."""
    epoch, done = divmod(first_step, self.steps_per_epoch)
    while True:
      yield from self._epoch(epoch, done, mesh)
      epoch, done = epoch + 1, 0

  def _epoch(self, epoch: int, done: int, mesh: Mesh) -> Iterator[FedBatch]:
    steps = self.steps_per_epoch
    order = self.order(epoch)[: steps * self.batch_size]
    share = distributed.process_rows(self.batch_size)
    order = order.reshape(steps, self.batch_size)[done:, share]
    sharding = distributed.row_sharding(mesh)
    # The short side to `size`, then the central square: what a training
    # pipeline can keep in a fixed shape.
    plain = preprocess.Preprocess(
      resize=self.size,
      crop=self.size,
      mean=(0.0, 0.0, 0.0),
      std=(1.0, 1.0, 1.0),
    )
    put = functools.partial(jax.make_array_from_process_local_data, sharding)
    for batch in batching.batches(
      self.source, plain, batch_size=order.shape[1], rows=order.ravel()
    ):
      rows = _replaced(batch)
      images = np.rint(batch.data.images * 255).astype(np.uint8)
      yield FedBatch(
        images=put(images[rows]),
        labels=put(self.source.labels[batch.rows[rows]].astype(np.int32)),
        skipped=batch.skipped,
      )

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
    draw: (key, program_ids [B], mesh=mesh) -> uint8 images [B, S, S, 3]; pure.
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


def _replaced(batch: batching.HostBatch) -> np.ndarray:
  """For each slot the slot to use: itself, or the last readable before it."""
  good = np.flatnonzero(batch.data.mask)
  if not len(good):
    first = batch.skipped[0]
    raise ValueError(
      f"No image of a batch can be read; the first, {first.id!r}:"
      f" {first.reason}."
    )
  places = np.searchsorted(good, np.arange(len(batch.rows)), side="right") - 1
  return good[np.maximum(places, 0)]
