"""The rows of one generation, and which of them the page shows.

  chosen = select(snapshot, Filter(classes=("dog",), text="beach"))

A `Snapshot` is what a store's rows are at one generation, without embeddings;
the page names it with every question, so that a list never mixes two.
"""

import contextlib
import dataclasses
import functools
import json
from typing import Any

import numpy as np

from visual_memory.store.store import Store
from visual_memory.types import UNLABELED


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
  """The rows of one generation, in order of insertion.

  Attributes:
    generation: of the store.
    ids: object [N].
    labels: int32 [N].
    texts: the metadata of each row, a JSON object as text; most is never
      looked at.
    class_names: one for each label; some may have no rows.
  """

  generation: int
  ids: np.ndarray
  labels: np.ndarray
  texts: list[bytes]
  class_names: tuple[str, ...]

  @classmethod
  def of(cls, store: Store) -> "Snapshot":
    """What a store holds now."""

    def look(state) -> "Snapshot":
      slots = state.rows
      return cls(
        generation=state.manifest.generation,
        ids=state.ids[slots],
        labels=state.columns["labels"][slots],
        texts=state.metadata_texts(slots),
        class_names=tuple(state.manifest.class_names),
      )

    return store.handle.read(look)

  @functools.cached_property
  def positions(self) -> dict[str, int]:
    """The position of each id."""
    return {row_id: place for place, row_id in enumerate(self.ids.tolist())}

  def metadata(self, position: int) -> dict[str, Any]:
    """A row's metadata.

    Raises:
      ValueError: it is no JSON object.
    """
    with contextlib.suppress(ValueError, RecursionError):
      if isinstance(found := json.loads(self.texts[position]), dict):
        return found
    raise ValueError(f"The metadata of {self.ids[position]!r} is no object.")

  def class_of(self, position: int) -> str | None:
    """The name of a row's class, None if it has none."""
    label = int(self.labels[position])
    return None if label == UNLABELED else self.class_names[label]

  def counts(self) -> dict[str, int]:
    """How many rows each class has; empty classes are left out."""
    counted = np.bincount(
      self.labels[self.labels != UNLABELED], minlength=len(self.class_names)
    )
    return {
      name: int(count)
      for name, count in zip(self.class_names, counted, strict=True)
      if count
    }

  def record(self, position: int) -> dict[str, Any]:
    """A row as the page shows it."""
    return {
      "id": str(self.ids[position]),
      "class": self.class_of(position),
      "metadata": self.metadata(position),
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
  """Which rows, and in which order.

  Attributes:
    classes: names; empty is all. None among them is rows without a class.
    text: part of the id, any case.
    fields: metadata fields with the text of their values.
    among: ids, in the order in which they are wanted; None is all rows.
    newest_first: the order, where `among` gives none.
  """

  classes: tuple[str | None, ...] = ()
  text: str = ""
  fields: tuple[tuple[str, str], ...] = ()
  among: tuple[str, ...] | None = None
  newest_first: bool = False


def select(snapshot: Snapshot, wanted: Filter) -> np.ndarray:
  """The positions of the rows that a filter lets through, int64 [n].

  Ids of `among` that are not (or no longer) there are left out.
  """
  if wanted.among is None:
    chosen = np.arange(len(snapshot.ids))
    if wanted.newest_first:
      chosen = chosen[::-1]
  else:
    places = map(snapshot.positions.get, wanted.among)
    chosen = np.array([p for p in places if p is not None], np.int64)
  if wanted.classes:
    names = {name: label for label, name in enumerate(snapshot.class_names)}
    labels = [
      UNLABELED if name is None else names.get(name, -2)
      for name in wanted.classes
    ]
    chosen = chosen[np.isin(snapshot.labels[chosen], labels)]
  if wanted.text:
    text = wanted.text.casefold()
    kept = [text in str(row_id).casefold() for row_id in snapshot.ids[chosen]]
    chosen = chosen[np.array(kept, bool)]
  for name, value in wanted.fields:
    kept = [
      str(snapshot.metadata(p).get(name, "")) == value for p in chosen.tolist()
    ]
    chosen = chosen[np.array(kept, bool)]
  return chosen
