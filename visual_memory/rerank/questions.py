"""Which queries to ask about, and what to show: read when it is their turn.

asked = split_queries(margin, threshold=0.4, most=1000)
questions = QuestionList(near=near, asked=asked, ...)
questions[0]                                  # reads 1 + k images
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int, Int64

from visual_memory.rerank.rerank import Question
from visual_memory.types import Neighbors


def split_queries(
  margin: Float[np.ndarray, "Q"], *, threshold: float, most: int
) -> Int64[np.ndarray, "A"]:
  """Positions of the queries whose vote is split, the closest votes first.

  Args:
    margin: how far the first class is ahead of the second.
    threshold: below it a vote is split.
    most: no more queries than this.
  """
  split = np.flatnonzero(margin < threshold)
  return split[np.argsort(margin[split], kind="stable")][:most]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionList(Sequence):
  """Questions about some queries; their images are read on access.

  Attributes:
    near: the neighbors of all queries.
    asked: the positions of those to ask about.
    votes: of all queries.
    ids: of all queries.
    k: neighbors to show.
    all_classes: the classes to offer; None for those of the neighbors shown.
    query_image: from a query's position to its image.
    memory_image: from a row's id to its image.
  """

  near: Neighbors
  asked: Int64[np.ndarray, "A"]
  votes: Int[np.ndarray, "Q"]
  ids: np.ndarray
  k: int
  all_classes: tuple[int, ...] | None
  query_image: Callable[[int], np.ndarray]
  memory_image: Callable[[str], np.ndarray]

  def __len__(self) -> int:
    """The number of questions."""
    return len(self.asked)

  def __getitem__(self, place):
    """One question, or a list of them for a slice."""
    if isinstance(place, slice):
      return [self[i] for i in range(*place.indices(len(self)))]
    query = int(self.asked[place])
    return Question(
      id=self.ids[query],
      image=self.query_image(query),
      neighbor_images=tuple(map(self.memory_image, self._ids_shown(query))),
      neighbor_labels=np.asarray(self.near.labels)[query, : self.k],
      similarities=np.asarray(self.near.similarities)[query, : self.k],
      choices=self._choices(query),
      vote=int(self.votes[query]),
    )

  @property
  def choices(self) -> list[tuple[int, ...]]:
    """What may be answered to each question, without reading an image."""
    return [self._choices(int(query)) for query in self.asked]

  def _ids_shown(self, query):
    return self.near.ids[query, : self.k]

  def _choices(self, query):
    if self.all_classes is not None:
      return self.all_classes
    labels = np.asarray(self.near.labels)[query, : self.k].tolist()
    return tuple(dict.fromkeys(label for label in labels if label >= 0))
