"""Rows that mislead: counted by self-retrieval, then removed or discounted.

  wrong, right = wrong_counts(near, labels, row_ids, k=100)  # leave-one-out
  hard = refill(test_near, excluded[test_near.indices], k=50)
  vote(hard.near, ...)                        # as if the rows had never been
  factors = reliability(wrong)[test_near.indices]
  vote(test_near, factors=factors, ...)       # soft

The wrong count v of a row is how often it was retrieved, among the first k
neighbors of another row, with a label that is not that row's. Hard pruning
removes the rows with v at a threshold or above; soft pruning multiplies what a
row has to say by c / (1 + v)**e.

Removal here is true removal: the neighbors behind move up, and those that the
retrieval has beyond k move in, which is exactly what a search of the pruned
memory returns; where too few are left, `refill` says so, and that query needs
the search. The published code instead closes the ranks of the k retrieved
neighbors without refilling them: `voting.compat` with `excluded` is that.

Reference: Geirhos et al., ICML 2025, section 3.6, table 3 and figure 5, with
k = 100 and v >= 128 (hard), k = 10, c = 1.75 and e = 1 (soft).
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from visual_memory.types import Array, Neighbors
from visual_memory.voting import vote_input


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refilled:
  """Neighbors in a memory without some rows.

  Attributes:
    near: k neighbors of each query; those of `short` queries end in excluded
      ones and are not to be used.
    short: queries of which fewer than k neighbors are left, bool [Q].
  """

  near: Neighbors
  short: Bool[np.ndarray, "Q"]


def wrong_counts(
  near: Neighbors, labels: Int[Array, "Q"], row_ids: np.ndarray, *, k: int
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
  """How often each row was retrieved with a wrong label, and with a right one.

  The two sum to Q * k over all rows. No decision plays a part.

  Args:
    near: neighbors of labelled rows, themselves left out.
    labels: the labels of those rows, [Q].
    row_ids: the memory's ids, in order of insertion, [N].
    k: how many neighbors of each count.

  Raises:
    ValueError: k out of range, labels that are not one for each query, or
      neighbors of other rows.
  """
  (k,) = vote_input.ks((k,), near.k)
  labels = np.asarray(labels)
  if labels.shape != (len(near),):
    raise ValueError(f"{labels.shape} labels for {len(near)} queries.")
  near.check_rows(row_ids)
  positions = np.asarray(near.indices)[:, :k]
  wrong = np.asarray(near.labels)[:, :k] != labels[:, None]
  return (
    np.bincount(positions[wrong], minlength=len(row_ids)),
    np.bincount(positions[~wrong], minlength=len(row_ids)),
  )


def reliability(
  wrong: Int[Array, "N"], *, scale: float = 1.75, exponent: float = 1.0
) -> Float64[np.ndarray, "N"]:
  """The factor of each row in a soft vote: scale / (1 + v)**exponent.

  As published, a row that never misled has factor 1, whatever the scale.

  Raises:
    ValueError: scale or exponent not positive.
  """
  if not (scale > 0 and exponent > 0):
    raise ValueError(
      f"scale = {scale} and exponent = {exponent} must be positive."
    )
  wrong = np.asarray(wrong, np.float64)
  return np.where(wrong == 0, 1.0, scale / (1 + wrong) ** exponent)


def refill(
  near: Neighbors, excluded: Bool[Array, "Q m"], *, k: int
) -> Refilled:
  """The first k neighbors that are not excluded, in order.

  Args:
    near: more than k neighbors of each query: the margin to refill from.
    excluded: which of them are gone, [Q, m].
    k: how many to return.

  Raises:
    ValueError: k out of range, or exclusions of another shape.
  """
  (k,) = vote_input.ks((k,), near.k)
  excluded = np.asarray(excluded, bool)
  if excluded.shape != near.ids.shape:
    raise ValueError(
      f"Exclusions of shape {excluded.shape} for neighbors of shape"
      f" {near.ids.shape}."
    )
  left = (~excluded).sum(axis=1)
  # Those that are left first, in their order.
  order = np.argsort(excluded, axis=1, kind="stable")[:, :k]
  moved = dataclasses.replace(
    near,
    ids=np.take_along_axis(near.ids, order, axis=1),
    indices=np.take_along_axis(np.asarray(near.indices), order, axis=1),
    labels=np.take_along_axis(np.asarray(near.labels), order, axis=1),
    similarities=np.take_along_axis(
      np.asarray(near.similarities), order, axis=1
    ),
  )
  return Refilled(near=moved, short=left < k)


def fill_short(refilled: Refilled, near: Neighbors) -> Neighbors:
  """The neighbors of all queries, once the short ones were searched again.

  Args:
    refilled: from `refill`.
    near: k neighbors of the short queries, in their order, in the memory
      without the excluded rows; with positions among all rows.

  Raises:
    ValueError: not as many queries, or not as many neighbors of each.
  """
  old = refilled.near
  if len(near) != refilled.short.sum() or near.k != old.k:
    raise ValueError(
      f"{len(near)} queries with {near.k} neighbors cannot replace"
      f" {refilled.short.sum()} short ones of {old.k}."
    )

  def replaced(name):
    values = np.array(getattr(old, name))
    values[refilled.short] = getattr(near, name)
    return values

  return dataclasses.replace(
    old,
    ids=replaced("ids"),
    indices=replaced("indices"),
    labels=replaced("labels"),
    similarities=replaced("similarities"),
  )
