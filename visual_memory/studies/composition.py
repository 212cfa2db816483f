"""Pictures of two objects: made of two queries, or one's own."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from visual_memory.analysis import composition
from visual_memory.studies import opening, shown
from visual_memory.studies.cached_search import unlabeled
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import SourceSettings, StudySettings
from visual_memory.types import UNLABELED, Neighbors

_HOW = ("difference", "projection")
_AND = "+"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
  """How many there are of what.

  Attributes:
    pairs: pictures that are made.
    retrieved: rows that are found for each.
    shown: pictures on the page.
  """

  pairs: int
  retrieved: int
  shown: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, pairs of its queries, and pictures of one's own.

  Attributes:
    composition: how many.
    pictures: one's own, if any; a folder called "cat+dog" says what is in
      those in it, any other name says nothing.
  """

  composition: Pairs
  pictures: SourceSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
  """Pictures of two objects.

  Attributes:
    images: uint8, each [H, W, 3].
    classes: of the two, among the study's; UNLABELED where nobody says, [Q, 2].
    ids: what each is called; empty for a pair.
  """

  images: list[np.ndarray]
  classes: np.ndarray
  ids: list[str]


def pairs_of(config: Settings, study: Study) -> Pictures:
  """Two queries side by side, in each picture."""
  pairs = composition.choose_pairs(
    study.queries.ids, study.labels, num_pairs=config.composition.pairs,
    seed=config.seed,
  )  # fmt: skip
  image = shown.image_of(study.queries_source)
  return Pictures(
    images=[
      composition.side_by_side(*(image(study.queries.ids[q]) for q in pair))
      for pair in pairs
    ],
    classes=study.labels[pairs],
    ids=[""] * len(pairs),
  )


def own_pictures(config: Settings, study: Study) -> Pictures:
  """One's own, with what the names of their folders say.

  Raises:
    ValueError: a folder that names a class which the memory does not have.
  """
  source = opening.open_source(config.pictures)
  names = source.class_names
  place = {name: i for i, name in enumerate(study.class_names)}
  told = np.full((len(source), 2), UNLABELED)
  for row, label in enumerate(source.labels):
    parts = names[label].split(_AND) if label >= 0 else []
    if len(parts) != 2:
      continue
    for part in parts:
      if part not in place:
        raise ValueError(
          f"The folder {names[label]!r} of pictures names the class {part!r},"
          " which the memory does not have."
        )
    told[row] = [place[part] for part in parts]
  return Pictures(
    images=[source[row].image for row in range(len(source))],
    classes=told,
    ids=list(source.ids),
  )


def looked_at(
  config: Settings, study: Study, pictures: Pictures
) -> tuple[Neighbors, dict[str, Neighbors]]:
  """The neighbors of the pictures, and of what is left of them, by how."""
  embeddings = study.encoder.encode(pictures.images)
  search = lambda rows: study.search(
    unlabeled(rows, study.embedded, "pair"),
    config.composition.retrieved,
    leave_one_out=False,
  )
  near = search(embeddings)
  nearest = study.embedded.embeddings[near.indices[:, 0]]
  beyond = search(
    np.concatenate(
      [composition.residuals(embeddings, nearest, how=how) for how in _HOW]
    )
  )
  count = len(embeddings)
  return near, {
    how: beyond.take(range(i * count, (i + 1) * count))
    for i, how in enumerate(_HOW)
  }


def scores(
  pictures: Pictures, near: Neighbors, left: Mapping[str, Neighbors]
) -> dict[str, composition.Found]:
  """How often both objects are found, by how; {} where nobody says which."""
  known = (pictures.classes != UNLABELED).all(axis=1)
  if not known.any():
    return {}
  classes, first = pictures.classes[known], near.labels[known, 0]
  return {
    "plain search": composition.found_both(
      first, composition.next_other(near.labels[known]), classes
    ),
    **{
      f"residual: {how}": composition.found_both(
        first, other.labels[known, 0], classes
      )
      for how, other in left.items()
    },
  }
