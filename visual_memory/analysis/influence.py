"""What each row of the memory decides: the exact effect of its removal.

  near = search(queries, memory, k=k + 1)
  effects = removal_effects(near, labels, row_ids, setting("rank"), k=k,
                            num_classes=10)
  effects.helps[row], effects.harms[row]      # queries it makes right, wrong
  effects.num_non_private                     # rows that decide anything
  curve = privacy_curve(near, labels, row_ids, settings=settings,
                        ks=(1, 10, 20), num_classes=10)

A row's removal can change the answer only of queries that have it among their
first k neighbors; for these, the vote is counted without it and with neighbor
k + 1 in its stead (see `voting.removal`). Nothing is approximated, and nothing
is searched again. Queries without a label count for `changes` alone. `edited`
is any edit, of single answers:

  changed = edited(near, removed={"cat/3.jpg"}, relabeled={"dog/1.jpg": 4}, k=9)

The next ones retrieved move up into the places of removed neighbors. So
retrieve k + m of them: up to m removals among a query's neighbors are then
exact, the same as removing the rows from the memory and searching again.

Reference: the definition of a private row, one whose removal changes no
answer, is that of Rodriguez-Munoz et al., "Separating knowledge and perception
with procedural data", ICML 2025, section 6. Their code counts the rows that
turn a wrong answer right; `num_harmful` is that count, without its errors
(`privacy_curve` has it for many k; figure 14: k = 20, softmax at 0.07).
Geirhos et al., ICML 2025, section 3.6, prune by how often a row is retrieved
with a wrong label, whatever was decided; see `analysis.pruning`.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from visual_memory.analysis import pruning
from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting import metrics, vote_input
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


def edited(
  near: Neighbors,
  *,
  removed: Collection[str],
  relabeled: Mapping[str, int],
  k: int,
) -> Neighbors:
  """The first k neighbors of each query once rows are removed or relabeled.

  Args:
    near: at least k neighbors of each query, and as many more as are removed.
    removed: ids of rows to do without; those that no query found change
      nothing.
    relabeled: the new label of rows, by id, UNLABELED to take away their vote.
    k: how many neighbors to keep, from 1 to near.k.

  Raises:
    ValueError: k out of range, a label below UNLABELED, a row both removed
      and relabeled, or a query that has fewer than k neighbors left.
  """
  both = sorted(set(removed) & set(relabeled))
  if both:
    raise ValueError(f"Row {both[0]!r} is both removed and relabeled.")
  for row_id, label in relabeled.items():
    if label < UNLABELED:
      raise ValueError(f"The new label of {row_id!r} is {label}: too low.")
  labels = np.array(near.labels)
  for row_id, label in relabeled.items():
    labels[near.ids == row_id] = label
  refilled = pruning.refill(
    dataclasses.replace(near, labels=labels),
    _member(near.ids, frozenset(removed)),
    k=k,
  )
  if refilled.short.any():
    query = int(np.argmax(refilled.short))
    raise ValueError(
      f"Query {query} has fewer than k = {k} of its {near.k} neighbors left:"
      " retrieve more neighbors, or vote with fewer."
    )
  return refilled.near


def _member(ids: np.ndarray, wanted: frozenset) -> Bool[np.ndarray, "Q k"]:
  """Which ids are among the wanted ones."""
  if not wanted:
    return np.zeros(ids.shape, bool)
  return np.frompyfunc(wanted.__contains__, 1, 1)(ids).astype(bool)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Privacy:
  """How private the rows are under one vote; fractions are of all rows.

  Attributes:
    name: of the setting.
    k: neighbors that voted.
    num_rows: N.
    num_non_private: rows whose removal changes at least one answer.
    num_helpful: rows whose removal makes a right answer wrong.
    num_harmful: rows whose removal makes a wrong answer right.
    num_swaying: rows whose removal changes an answer otherwise.
    accuracy: of the labelled queries, a fraction.
  """

  name: str
  k: int
  num_rows: int
  num_non_private: int
  num_helpful: int
  num_harmful: int
  num_swaying: int
  accuracy: float | None

  @property
  def non_private(self) -> float:
    """The fraction of rows that are not private."""
    return self.num_non_private / self.num_rows


def privacy_curve(
  near: Neighbors,
  labels: Int[Array, "Q"],
  row_ids: np.ndarray,
  *,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
) -> list[Privacy]:
  """Privacy beside accuracy, for every setting at every k.

  Args:
    near: at least max(ks) + 1 neighbors of each query.
    labels: the queries' classes, UNLABELED where unknown, [Q].
    row_ids: the memory's ids, [N].
    settings: how the neighbors vote, by name.
    ks: how many of them.
    num_classes: C; every neighbor's label must be below it.

  Raises:
    ValueError: as for `removal_effects`, or an empty memory.
  """
  if not len(row_ids):
    raise ValueError("The memory is empty: there is no row to keep private.")
  found = []
  for name, setting in settings.items():
    for k in vote_input.ks(ks, near.k):
      effects = removal_effects(
        near, labels, row_ids, setting, k=k, num_classes=num_classes
      )
      found.append(
        Privacy(
          name=name,
          k=k,
          num_rows=len(row_ids),
          num_non_private=effects.num_non_private,
          num_helpful=effects.num_helpful,
          num_harmful=effects.num_harmful,
          num_swaying=int((effects.sways > 0).sum()),
          accuracy=effects.accuracy,
        )
      )
  return found
