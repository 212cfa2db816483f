"""Endless labelled pictures without photographs: a class is a program.

source = procedural(num_programs=100, num_views=10, size=64, seed=0)
"""

import dataclasses
from typing import SupportsIndex

import jax
import numpy as np
from jaxtyping import Int

from visual_memory import types
from visual_memory.data import image_source
from visual_memory.procedural import programs
from visual_memory.procedural import source as pictures


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class ProceduralSource(image_source.Described):
  """Pictures rendered when asked for. Build one with `procedural`.

  Attributes:
    labels: int32 [N]; the program id.
    ids: [N].
    class_names: one for each program.
    num_views: pictures of each program.
    size: the side of each picture in pixels.
    seed: fixes every program and view.
    family: see procedural.source.FAMILIES.
    fingerprint: hash of the options and the grammar's version.
  """

  labels: Int[np.ndarray, "N"]
  ids: np.ndarray
  class_names: tuple[str, ...]
  num_views: int
  size: int
  seed: int
  family: str
  fingerprint: str

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """One program from one view."""
    label, id = int(self.labels[row]), self.ids[row]
    view = int(id.rsplit("/", 1)[1])
    key = jax.random.key(self.seed, impl="threefry2x32")
    image = pictures.sample_images(
      jax.random.fold_in(key, view),
      np.array([label], np.int32),
      size=self.size,
      seed=self.seed,
      family=self.family,
    )[0]
    return types.Example(image=np.asarray(image), label=label, id=id)


def procedural(
  *,
  num_programs: int,
  num_views: int,
  size: int,
  seed: int,
  family: str = "shaders",
) -> ProceduralSource:
  """num_views pictures of each of the first num_programs programs of a seed.

  Raises:
    ValueError: a number or a size below one, or no such family.
  """
  if family not in pictures.FAMILIES:
    raise ValueError(
      f"There is no family of pictures {family!r}; there are:"
      f" {', '.join(pictures.FAMILIES)}."
    )
  if min(num_programs, num_views, size) < 1:
    raise ValueError(
      "num_programs, num_views and size must be positive; got"
      f" {num_programs}, {num_views} and {size}."
    )
  rows = range(num_programs * num_views)
  ids = [
    f"procedural/{seed}/{row // num_views}/{row % num_views}" for row in rows
  ]
  return ProceduralSource(
    labels=(np.arange(len(rows)) // num_views).astype(np.int32),
    ids=types.as_ids(ids),
    class_names=tuple(f"program_{i}" for i in range(num_programs)),
    num_views=num_views,
    size=size,
    seed=seed,
    family=family,
    fingerprint=image_source.digest(
      "procedural",
      programs.GRAMMAR_VERSION,
      num_programs,
      num_views,
      size,
      seed,
      family,
    ),
  )
