"""What a removal took, what it cost, and whether it forgot.

The three questions that unlearning is judged by, for a memory: time is
measured where the removal happens; utility is the accuracy of the queries that
the removed rows do not concern; forgetting is complete when every answer
equals, bit for bit, that of a memory which never held the rows.

Reference: Geirhos et al., ICML 2025, section 3.4.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int

from visual_memory.types import Array, Ids, Neighbors
from visual_memory.voting import metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forgetting:
  """What is left of removed rows.

  Attributes:
    num_removed: rows that were removed.
    num_retrieved_before: places among all neighbors that they had before.
    num_retrieved_after: and have after: 0.
    identical: whether ids, labels and similarities equal those of a memory
      that never held them, bit for bit.
  """

  num_removed: int
  num_retrieved_before: int
  num_retrieved_after: int
  identical: bool

  @property
  def complete(self) -> bool:
    """Whether nothing is left."""
    return self.identical and not self.num_retrieved_after


@dataclasses.dataclass(frozen=True, kw_only=True)
class Utility:
  """Accuracy before and after, on queries that should not and should change.

  Attributes:
    retained_before: accuracy on queries of classes that keep rows.
    retained_after: the same afterwards.
    forgotten_before: accuracy on queries of classes without rows afterwards;
      None if there are none.
    forgotten_after: the same afterwards.
    num_changed: queries of retained classes with another prediction.
  """

  retained_before: float
  retained_after: float
  forgotten_before: float | None
  forgotten_after: float | None
  num_changed: int


def forgetting(
  before: Neighbors, after: Neighbors, rebuilt: Neighbors, *, removed: Ids
) -> Forgetting:
  """Whether the removed ids are forgotten.

  Args:
    before: neighbors in the memory that held them.
    after: neighbors in the memory that they were removed from.
    rebuilt: neighbors in a memory that never held them.
    removed: their ids.
  """
  gone = set(removed)
  count = lambda near: sum(row_id in gone for row_id in near.ids.ravel())
  pairs = (
    (after.ids, rebuilt.ids),
    (after.labels, rebuilt.labels),
    (_bits(after.similarities), _bits(rebuilt.similarities)),
  )
  return Forgetting(
    num_removed=len(gone),
    num_retrieved_before=count(before),
    num_retrieved_after=count(after),
    identical=all(np.array_equal(ours, theirs) for ours, theirs in pairs),
  )


def utility(
  before: Int[np.ndarray, "Q"],
  after: Int[np.ndarray, "Q"],
  labels: Int[Array, "Q"],
  *,
  forgotten: Bool[np.ndarray, "Q"],
) -> Utility:
  """What a removal did to the answers.

  Args:
    before: predictions before it.
    after: predictions after it.
    labels: true classes.
    forgotten: which queries are of a class that has no row any more.

  Raises:
    ValueError: no query is of a class that keeps rows.
  """
  kept = ~forgotten
  if not kept.any():
    raise ValueError("Every query is of a forgotten class: nothing to compare.")
  share = lambda predictions, who: metrics.accuracy(
    predictions[who], labels[who]
  )
  return Utility(
    retained_before=share(before, kept),
    retained_after=share(after, kept),
    forgotten_before=share(before, forgotten),
    forgotten_after=share(after, forgotten),
    num_changed=int((before[kept] != after[kept]).sum()),
  )


def _bits(similarities) -> np.ndarray:
  """Float32 as integers, so that equal means equal bits."""
  return np.ascontiguousarray(similarities, np.float32).view(np.int32)
