"""From neighbors to records, and records among the rows of a given memory."""

import dataclasses

import numpy as np

from visual_memory.retrieval.neighbor_records import (
  NeighborRecords,
  check_known,
  neighbor_records,
)
from visual_memory.types import EmbeddedSet, Neighbors


def record(
  near: Neighbors, queries: EmbeddedSet, rows: EmbeddedSet
) -> NeighborRecords:
  """The records of a search.

  Args:
    near: what was found.
    queries: what was asked, labelled among the rows' class names.
    rows: what was searched.

  Raises:
    ValueError: as for `neighbor_records`, or neighbors of other rows.
  """
  near.check_rows(rows.ids)
  return neighbor_records(
    np.asarray(near.indices),
    np.asarray(near.similarities),
    kind="similarities",
    query_ids=queries.ids,
    query_labels=queries.labels,
    row_ids=rows.ids,
    row_labels=rows.labels,
    class_names=rows.class_names,
    featurizer=rows.fingerprint,
  )


def among_rows(
  records: NeighborRecords, row_ids: np.ndarray, row_labels: np.ndarray
) -> NeighborRecords:
  """The same neighbors, as positions among these rows.

  Raises:
    ValueError: a row that is unknown to the memory or has another label
      there; names it.
  """
  check_known(records, row_ids)
  position = {value: row for row, value in enumerate(row_ids)}
  moved = np.array([position[value] for value in records.row_ids], np.int32)
  labels = np.asarray(row_labels, np.int32)
  differs = labels[moved] != records.row_labels
  if differs.any():
    row = int(np.argmax(differs))
    raise ValueError(
      f"Row {records.row_ids[row]!r} has label {records.row_labels[row]} in the"
      f" neighbor file, but {labels[moved[row]]} in the memory."
    )
  return dataclasses.replace(
    records,
    positions=moved[records.positions],
    row_ids=np.asarray(row_ids),
    row_labels=labels,
  )
