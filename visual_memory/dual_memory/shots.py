"""A few labelled images of each class: drawn once, nested, saved.

  shots = draw_shots(labels, ids, class_names, num_shots=16, seed=0)
  shots.first(4)                                # the first four are the 4 shots
  save_shots(shots, "shots.json")

A row's rank in its class's order depends on its id and the seed alone. So the
2 shots are among the 4, and no row that comes or goes changes another's rank.

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024). The released code
seeds Python's generator before every class, so that its shots are fixed but
not nested (`published_shots`); for ImageNet it does not, and draws one set for
the memory and another for the training, 2 S labelled images of each class.
Here one set serves both.
"""

import dataclasses
import json
import os
import random
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int64

from visual_memory import files
from visual_memory.data.selection import id_hash
from visual_memory.types import Ids


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shots:
  """S rows of each of C classes.

  Attributes:
    ids: by class, [C, S] (a NumPy object array of str).
    class_names: of the classes.
    seed: what they were drawn by; -1 as published.
  """

  ids: np.ndarray
  class_names: tuple[str, ...]
  seed: int

  def first(self, num_shots: int) -> "Shots":
    """The first few of each class."""
    if not 1 <= num_shots <= self.ids.shape[1]:
      raise ValueError(
        f"{num_shots} shots of {self.ids.shape[1]}: ask for at least one, and"
        " no more than were drawn."
      )
    return dataclasses.replace(self, ids=self.ids[:, :num_shots])

  def rows_in(self, ids: Ids) -> Int64[np.ndarray, "C S"]:
    """Their positions in a list of ids.

    Raises:
      ValueError: one is not there; names it.
    """
    row_of = {value: row for row, value in enumerate(ids)}
    for value in self.ids.ravel():
      if value not in row_of:
        raise ValueError(
          f"The shot {value!r} is not among the rows: it was drawn from other"
          " data, or its image could not be read."
        )
    rows = [row_of[value] for value in self.ids.ravel()]
    return np.asarray(rows, np.int64).reshape(self.ids.shape)


def draw_shots(
  labels: Int[np.ndarray, "N"],
  ids: Ids,
  class_names: Sequence[str],
  *,
  num_shots: int,
  seed: int,
) -> Shots:
  """S rows of each class, nested over S.

  Raises:
    ValueError: a class with fewer rows; names it.
  """
  ids = np.asarray(ids, object)
  order = np.argsort(id_hash(ids, salt=f"shots/{seed}"), kind="stable")
  members = _members(labels, order, class_names, num_shots)
  return Shots(
    ids=np.stack([ids[rows[:num_shots]] for rows in members]),
    class_names=tuple(class_names),
    seed=seed,
  )


def published_shots(
  labels: Int[np.ndarray, "N"],
  ids: Ids,
  class_names: Sequence[str],
  *,
  num_shots: int,
) -> Shots:
  """The shots of the released code: Python's sample, seed 0 for each class.

  They are its own only if the rows are in its order, that of the split file.
  """
  ids = np.asarray(ids, object)
  members = _members(labels, np.arange(len(ids)), class_names, num_shots)
  drawn = []
  for rows in members:
    drawn.append(random.Random(0).sample(list(rows), num_shots))
  return Shots(
    ids=ids[np.asarray(drawn)], class_names=tuple(class_names), seed=-1
  )


def _members(labels, order, class_names, num_shots):
  """The rows of each class in an order, at least num_shots of them."""
  if num_shots < 1:
    raise ValueError(f"At least one shot is needed; got {num_shots}.")
  members = []
  for label, name in enumerate(class_names):
    rows = order[np.asarray(labels)[order] == label]
    if len(rows) < num_shots:
      raise ValueError(
        f"The class {name!r} has {len(rows)} images, and {num_shots} shots were"
        " asked for: ask for fewer, or leave the class out."
      )
    members.append(rows)
  return members


def save_shots(shots: Shots, path: str | os.PathLike) -> None:
  """Writes them as JSON: {seed, class_names, ids}."""
  values = {
    "seed": shots.seed,
    "class_names": shots.class_names,
    "ids": shots.ids.tolist(),
  }
  with files.replacing(path) as partial:
    partial.write_text(json.dumps(values, indent=1), encoding="utf-8")
