"""Rows that mislead, removed or given less to say: the paper's two prunings.

  found = look(store)                      # how often each row misled another
  prune(store, found, threshold=8)         # hard: these rows are removed
  discount(store, found)                   # soft: factors kept in the store
  factors(store)                           # [N], or None where there are none

Reference: Geirhos et al., ICML 2025, section 3.6; see analysis/pruning.py.
"""

import dataclasses

import numpy as np
from jaxtyping import Float64, Int64

from visual_memory.analysis import pruning
from visual_memory.collection.meant_rows import forget
from visual_memory.collection.provenance import describe, provenance
from visual_memory.collection.sureness import leave_one_out
from visual_memory.store.receipts import Receipt
from visual_memory.store.store import Store
from visual_memory.types import UNLABELED

FACTOR = "reliability"
"""The field of a row's metadata with its factor in votes; 1 if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
  """How often each labelled row was another's neighbor.

  Attributes:
    ids: of all rows, [N].
    wrong: with another class than that row's, [N].
    right: with the same class, [N].
    k: neighbors of each row that were counted.
  """

  ids: np.ndarray
  wrong: Int64[np.ndarray, "N"]
  right: Int64[np.ndarray, "N"]
  k: int


def look(store: Store, *, k: int = 10) -> Counts:
  """Asks every labelled row of all the others, and counts.

  Raises:
    ValueError: fewer than two rows.
  """
  rows, memory = store.embedded(), store.load()
  asked = rows.take(rows.labels != UNLABELED)
  near = leave_one_out(asked, memory, k=k)
  wrong, right = pruning.wrong_counts(near, asked.labels, rows.ids, k=near.k)
  return Counts(ids=rows.ids, wrong=wrong, right=right, k=near.k)


def prune(
  store: Store, counts: Counts, *, threshold: int, key_file: str | None = None
) -> tuple[Receipt | None, list[str]]:
  """Removes the rows that misled at least so many others.

  Returns:
    The receipt (None where no row did) and the ids that were removed.
  """
  chosen = chosen_by(counts, threshold)
  if not chosen:
    return None, []
  return forget(store, chosen, key_file=key_file)


def chosen_by(counts: Counts, threshold: int) -> list[str]:
  """The rows that misled at least so many others, the worst first.

  Raises:
    ValueError: a threshold below one, which would choose every row.
  """
  if threshold < 1:
    raise ValueError(f"A threshold of {threshold} would choose every row.")
  order = np.argsort(-counts.wrong, kind="stable")
  return [str(counts.ids[n]) for n in order if counts.wrong[n] >= threshold]


def discount(
  store: Store, counts: Counts, *, scale: float = 1.75, exponent: float = 1.0
) -> int:
  """Keeps a factor with every row, by which its votes count from now on.

  Returns:
    How many rows count for less than one.
  """
  values = pruning.reliability(counts.wrong, scale=scale, exponent=exponent)
  _write(store, counts.ids, values)
  describe(store, pruning={"k": counts.k, "scale": scale, "exponent": exponent})
  return int((values != 1).sum())


def forgive(store: Store) -> None:
  """Takes all factors away."""
  if provenance(store).pruning is not None:
    _write(store, store.ids, np.ones(len(store)))
    describe(store, pruning=None)


def factors(store: Store) -> Float64[np.ndarray, "N"] | None:
  """The factor of every row in order of insertion; None if all are 1."""
  if store.attributes.get("pruning") is None:
    return None
  records = store.metadata(store.ids)
  return np.array([float(record.get(FACTOR, 1.0)) for record in records])


def _write(store: Store, ids: np.ndarray, values: np.ndarray) -> None:
  """Notes factors in the metadata of the rows for which they change."""
  changed, records = [], []
  for row_id, record, value in zip(
    ids.tolist(), store.metadata(ids), values.tolist(), strict=True
  ):
    rest = {name: v for name, v in record.items() if name != FACTOR}
    new = rest if value == 1 else {**rest, FACTOR: value}
    if new != record:
      changed.append(row_id)
      records.append(new)
  if changed:
    store.annotate(changed, records)
