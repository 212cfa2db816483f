"""What each row of the memory decides: the exact effect of its removal.

  near = search(queries, memory, k=k + 1)
  effects = removal_effects(near, labels, row_ids, setting("rank"), k=k,
                            num_classes=10)
  effects.helps[row], effects.harms[row]      # queries it makes right, wrong
  effects.num_non_private                     # rows that decide anything

A row's removal can change the answer only of queries that have it among their
first k neighbors; for these, the vote is counted without it and with neighbor
k + 1 in its stead (see `voting.removal`). Nothing is approximated, and nothing
is searched again. Queries without a label count for `changes` alone.

Reference: the definition of a private row, one whose removal changes no
answer, is that of Rodriguez-Munoz et al., "Separating knowledge and perception
with procedural data", ICML 2025, section 6. Their code counts the rows that
turn a wrong answer right; `num_harmful` is that count, without its errors.
Geirhos et al., ICML 2025, section 3.6, prune by how often a row is retrieved
with a wrong label, whatever was decided; see `analysis.pruning`.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Int64

from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting import metrics
from visual_memory.voting.removal import predict_without_each
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import Setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemovalEffects:
  """How many queries each row's removal would change, [N] each.

  Attributes:
    changes: of any kind.
    helps: right answers that would become wrong.
    harms: wrong answers that would become right.
    accuracy: of the labelled queries with every row in place, a fraction; None
      without any.
  """

  changes: Int64[np.ndarray, "N"]
  helps: Int64[np.ndarray, "N"]
  harms: Int64[np.ndarray, "N"]
  accuracy: float | None

  @property
  def sways(self) -> Int64[np.ndarray, "N"]:
    """Changes between two wrong answers, and of queries without a label."""
    return self.changes - self.helps - self.harms

  @property
  def gain(self) -> Int64[np.ndarray, "N"]:
    """Right answers that the row's removal would win, net."""
    return self.harms - self.helps

  @property
  def num_non_private(self) -> int:
    """Rows whose removal changes at least one answer."""
    return int((self.changes > 0).sum())

  @property
  def num_helpful(self) -> int:
    """Rows whose removal makes a right answer wrong."""
    return int((self.helps > 0).sum())

  @property
  def num_harmful(self) -> int:
    """Rows whose removal makes a wrong answer right."""
    return int((self.harms > 0).sum())

  @property
  def non_private(self) -> float:
    """The fraction of rows that are not private."""
    return self.num_non_private / max(1, len(self.changes))


def removal_effects(
  near: Neighbors,
  labels: Int[Array, "Q"],
  row_ids: np.ndarray,
  setting: Setting,
  *,
  k: int,
  num_classes: int,
  factors: Float[Array, "Q m"] | None = None,
) -> RemovalEffects:
  """What the removal of each row alone would change.

  Args:
    near: at least k + 1 neighbors of each query.
    labels: the queries' classes, UNLABELED where unknown, [Q].
    row_ids: the memory's ids, in order of insertion, [N].
    setting: how the neighbors vote.
    k: how many of them.
    num_classes: C; every neighbor's label must be below it.
    factors: as in `vote`.

  Raises:
    ValueError: fewer than k + 1 neighbors, neighbors of
      other rows, labels that are not one for each query; or as for `vote`.
  """
  labels = np.asarray(labels)
  if labels.shape != (len(near),):
    raise ValueError(f"{labels.shape} labels for {len(near)} queries.")
  near.check_rows(row_ids)
  without = predict_without_each(
    near, setting, k=k, num_classes=num_classes, factors=factors
  )
  base = predict(
    near, [setting], ks=(k,), num_classes=num_classes, factors=factors
  )[0, 0]
  queries, which = np.nonzero(without != base[:, None])
  rows = np.asarray(near.indices)[queries, which]
  right = base == labels
  becomes_right = without[queries, which] == labels[queries]
  known = labels != UNLABELED

  def count(chosen):
    return np.bincount(rows[chosen], minlength=len(row_ids))

  return RemovalEffects(
    changes=count(slice(None)),
    helps=count((right & known)[queries]),
    harms=count(becomes_right & known[queries]),
    accuracy=metrics.accuracy(base, labels),
  )
