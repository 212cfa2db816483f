"""One removal after the other: before, after, and a memory rebuilt without.

removals = Removals(study, choice, build)
found = removals.remove("one row", ["a/7"], store)       # a Removal
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from visual_memory.analysis import choosing, unlearning
from visual_memory.data import selection
from visual_memory.memory.matching import class_index
from visual_memory.memory.memory import VisualMemory
from visual_memory.reports.sections.unlearning import Removal
from visual_memory.retrieval import exact
from visual_memory.store.store import Store
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings
from visual_memory.types import EmbeddedSet, Neighbors
from visual_memory.voting.vote import predict


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemovedSettings:
  """What is removed.

  Attributes:
    fraction: of the rows, at once.
    label: the class whose rows go last.
  """

  fraction: float
  label: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and what it is to forget."""

  removals: RemovedSettings


class Removals:
  """A study's memory so far, and what it answers."""

  def __init__(
    self,
    study: Study,
    choice: choosing.Choice,
    build: Callable[[EmbeddedSet], VisualMemory],
  ):
    """Starts with all rows.

    Args:
      study: whose queries are asked.
      choice: the voter and k that answer.
      build: makes a memory of rows.
    """
    self._study, self._choice, self._build = study, choice, build
    self._rows = study.embedded
    self._memory = build(self._rows)
    self._near = study.near.first(choice.k)

  def remove(
    self, name: str, ids: Sequence[str] | np.ndarray, store: Store
  ) -> Removal:
    """Removes these rows everywhere, and compares before, after, rebuilt."""
    gone = selection.among(self._rows.ids, ids)
    rows = self._rows.take(~gone)
    copy = lambda: _ready(self._memory.remove(ids))
    build = lambda: _ready(self._build(rows))
    copy(), build()  # Compiles.
    memory_s, memory = _timed(copy)
    store_s, receipt = _timed(lambda: store.remove(ids))
    rebuild_s, rebuilt = _timed(build)
    before, after = self._near, self._search(memory)
    forgotten = ~selection.among(self._study.labels, rows.labels.tolist())
    removal = Removal(
      name=name,
      rows_after=len(memory),
      memory_s=memory_s,
      store_s=store_s,
      rebuild_s=rebuild_s,
      forgetting=unlearning.forgetting(
        before, after, self._search(rebuilt), removed=ids
      ),
      utility=unlearning.utility(
        self._predict(before),
        self._predict(after),
        self._study.labels,
        forgotten=forgotten,
      ),
      receipt=dataclasses.asdict(receipt),
    )
    self._memory, self._rows, self._near = memory, rows, after
    return removal

  def _search(self, memory: VisualMemory) -> Neighbors:
    return exact.search(
      self._study.queries.embeddings, memory, k=self._choice.k
    )

  def _predict(self, near: Neighbors) -> np.ndarray:
    return predict(
      near,
      [self._choice.setting],
      ks=(self._choice.k,),
      num_classes=self._study.num_classes,
    )[0, 0]


def cases(
  embedded: EmbeddedSet, *, fraction: float, label: str
) -> Iterator[tuple[str, np.ndarray]]:
  """(name, ids) of removals, none of which shares a row with another.

  One row, a fraction of all rows, and the rows of a class; what there are no
  rows for is left out.

  Raises:
    ValueError: no such class, or no row of another.
  """
  index = class_index(embedded.class_names, label, holder="memory")
  order = selection.id_hash(embedded.ids, salt="unlearning").argsort()
  is_class = embedded.labels == index
  others = embedded.ids[order[~is_class[order]]]
  count = max(1, round(fraction * len(embedded)))
  if not len(others):
    raise ValueError(
      f"The class {label!r} is all that the memory has: without it no query"
      " could be answered. Name another removals.label."
    )
  found = {
    "one row": others[:1],
    f"{fraction:.0%} of the rows": others[1 : 1 + count],
    f"the class {label}": embedded.ids[is_class],
  }
  left = len(embedded)
  for name, ids in found.items():
    left -= len(ids)
    if len(ids) and left:  # An empty memory answers nothing.
      yield name, ids


def _ready(memory):
  """The memory, once its rows are on the devices."""
  memory.rows.labels.block_until_ready()
  return memory


def _timed(call):
  """Seconds of a call, and what it returned."""
  start = time.perf_counter()
  result = call()
  return time.perf_counter() - start, result
