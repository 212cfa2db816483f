"""A pool of pictures rendered once, for machines that cannot render and train.

  write_pool("work/pool", num_programs=20_000, per_program=6, size=48, seed=0)
  source = open_pool("work/pool")      # an ordinary ImageSource

Row v * num_programs + p shows program p at its v-th view; p is its class.
"""

import json
import os
import pathlib

import jax
import numpy as np

from visual_memory.data import image_source
from visual_memory.data.array_source import ArraySource
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
