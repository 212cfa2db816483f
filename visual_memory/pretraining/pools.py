"""A pool of pictures rendered once, for machines that cannot render and train.

  write_pool("work/pool", num_programs=20_000, per_program=6, size=48, seed=0)
  source = open_pool("work/pool")      # an ordinary ImageSource

Row v * num_programs + p shows program p at its v-th view; p is its class.

  feed = mixed_feed(pool, family="kml", batch_size=512, seed=0, identity={...})

makes new pictures from those of a pool at every step, on the devices: as many
mixtures as one likes for the price of the shaders that they are made of.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.data import image_source
from visual_memory.data.array_source import ArraySource
from visual_memory.pretraining.feeds import FedBatch
from visual_memory.procedural import noise
from visual_memory.procedural import source as procedural
from visual_memory.procedural.programs import GRAMMAR_VERSION
from visual_memory.progress import Progress
from visual_memory.types import as_ids

_IMAGES = "images.npy"
_CARD = "pool.json"


def write_pool(
  path: str | os.PathLike,
  *,
  num_programs: int,
  per_program: int,
  size: int,
  seed: int,
  batch_size: int = 256,
  **options,
) -> None:
  """Renders a pool into a directory; returns at once if it is there.

  Args:
    path: the directory.
    num_programs: classes.
    per_program: pictures of each, from other views and at other times.
    size: side in pixels.
    seed: of programs and views.
    batch_size: pictures rendered at once; changes no picture.
    **options: further arguments of `procedural.sample_images`.

  Raises:
    ValueError: the directory holds a pool made otherwise.
  """
  path = pathlib.Path(path)
  card = {
    "num_programs": num_programs,
    "per_program": per_program,
    "size": size,
    "seed": seed,
    "grammar_version": GRAMMAR_VERSION,
    **options,
  }
  if (path / _CARD).exists():
    found = json.loads((path / _CARD).read_text(encoding="utf-8"))
    if found != card:
      raise ValueError(f"{path} holds another pool: {found}, not {card}.")
    return
  path.mkdir(parents=True, exist_ok=True)
  count = num_programs * per_program
  images = np.lib.format.open_memmap(
    path / _IMAGES, mode="w+", dtype=np.uint8, shape=(count, size, size, 3)
  )
  key = jax.random.key(seed)
  with Progress(count, what="pictures") as progress:
    for view in range(per_program):
      view_key = jax.random.fold_in(key, view)
      for start in range(0, num_programs, batch_size):
        ids = np.arange(start, start + batch_size, dtype=np.int32)
        rendered = procedural.sample_images(
          view_key, ids, size=size, seed=seed, **options
        )
        wanted = min(batch_size, num_programs - start)
        first = view * num_programs + start
        images[first : first + wanted] = np.asarray(rendered)[:wanted]
        progress.advance(wanted)
  images.flush()
  (path / _CARD).write_text(json.dumps(card, indent=2), encoding="utf-8")


def open_pool(path: str | os.PathLike) -> ArraySource:
  """The pool in a directory, its pixels mapped and not read.

  Raises:
    ValueError: there is no finished pool.
  """
  path = pathlib.Path(path)
  if not (path / _CARD).exists():
    raise ValueError(f"{path} holds no finished pool: write_pool makes one.")
  card = json.loads((path / _CARD).read_text(encoding="utf-8"))
  programs, views = card["num_programs"], card["per_program"]
  return ArraySource(
    images=np.load(path / _IMAGES, mmap_mode="r"),
    labels=np.tile(np.arange(programs, dtype=np.int32), views),
    ids=as_ids([f"{p}/{v}" for v in range(views) for p in range(programs)]),
    class_names=tuple(map(str, range(programs))),
    fingerprint=image_source.digest("pool", sorted(card.items())),
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixedFeed:
  """New pictures of a family at every step; make one with `mixed_feed`.

  Attributes:
    identity: see `feeds.Feed`.
    pictures: uint8 [N, S, S, 3], the shaders that are mixed; every device
      holds them all.
    family: one that is made of shaders.
    batch_size: pictures per step.
    seed: of the choice.
  """

  identity: dict[str, Any]
  pictures: Any
  family: str
  batch_size: int
  seed: int

  def batches(
    self, first_step: int, mesh: Mesh, *, rows: int
  ) -> Iterator[FedBatch]:
    """See `feeds.Feed`."""
    pictures = jax.device_put(self.pictures, distributed.replicated(mesh))
    numbers = np.minimum(np.arange(rows, dtype=np.int32), self.batch_size - 1)
    numbers = distributed.shard_rows(numbers, mesh)
    aspects = distributed.shard_rows(np.ones(rows, np.float32), mesh)
    step = first_step
    while True:
      images, chosen = _mixed_batch(
        pictures,
        numbers,
        np.array([self.seed, step], np.uint32),
        family=self.family,
        mesh=mesh,
      )
      yield FedBatch(images=images, labels=chosen, aspects=aspects)
      step += 1


@functools.partial(jax.jit, static_argnames=("family", "mesh"))
def _mixed_batch(pictures, numbers, words, *, family: str, mesh: Mesh):
  """Pictures of a family, and which picture of the pool each began with."""
  num = procedural.FAMILIES[family].num
  count = pictures.shape[0]

  def choose(number):
    bits = noise.random_bits(noise.derived(words, number), num)
    return (bits % np.uint32(count)).astype(jnp.int32)

  rows = distributed.row_sharding(mesh)
  chosen = jax.lax.with_sharding_constraint(jax.vmap(choose)(numbers), rows)
  keys = procedural.keys_of(jax.random.key(0), numbers, "mixture")
  keys = jax.vmap(jax.random.fold_in, (0, None))(keys, words[1])
  found = jax.lax.with_sharding_constraint(pictures[chosen], rows)
  return procedural.mixed(found, keys, family, mesh=mesh), chosen[:, 0]


def mixed_feed(
  pictures: Any,
  *,
  identity: dict[str, Any],
  family: str,
  batch_size: int,
  seed: int,
) -> MixedFeed:
  """A feed of mixtures of pictures that are there already.

  Args:
    pictures: uint8 [N, S, S, 3], shaders; they must fit on every device.
    identity: plain values that fix them.
    family: one that is made of shaders: kml, kml_mixup, mixup, ...
    batch_size: pictures per step.
    seed: of the choice.

  Raises:
    ValueError: a family that is not made of shaders.
  """
  made = procedural.FAMILIES.get(family)
  if not isinstance(made, procedural.Mixture):
    raise ValueError(
      f"{family!r} is not made of shaders: a pool can be mixed to"
      f" {', '.join(procedural.MIXTURES)}."
    )
  return MixedFeed(
    identity={"family": family, **identity},
    pictures=pictures,
    family=family,
    batch_size=batch_size,
    seed=seed,
  )
