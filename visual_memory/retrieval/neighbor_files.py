"""Neighbors in a file: compact, exact, readable without pickle.

Ids are not repeated: a neighbor is its position among the memory's ids, which
the reader supplies again.
"""

import hashlib
import json
import os

import numpy as np

from visual_memory import files
from visual_memory.retrieval import record_checks
from visual_memory.types import UNLABELED, Neighbors

_ARRAYS = (
  "format", "memory", "indices", "labels", "similarities", "num_redone",
)  # fmt: skip
FORMAT = 2
"""Of the files; those of format 1 held slots beside the positions."""


def save_neighbors(
  path: str | os.PathLike, near: Neighbors, row_ids: np.ndarray
) -> None:
  """Writes neighbors; the file appears whole or not at all.

  Args:
    path: of a .npz file.
    near: found in the memory of row_ids.
    row_ids: the memory's ids in order of insertion, [N].

  Raises:
    ValueError: neighbors of other rows.
  """
  near.check_rows(row_ids)
  with files.replacing(path) as partial, open(partial, "wb") as file:
    np.savez(
      file,
      format=FORMAT,
      memory=_digest(row_ids),
      indices=np.asarray(near.indices),
      labels=np.asarray(near.labels),
      similarities=np.asarray(near.similarities),
      num_redone=near.num_redone,
    )


def load_neighbors(path: str | os.PathLike, row_ids: np.ndarray) -> Neighbors:
  """The neighbors that `save_neighbors` wrote, for a memory of the same ids.

  Raises:
    ValueError: the file is broken, of another format, or of other ids.
  """
  try:
    content = files.formatted_arrays(path, _ARRAYS, FORMAT)
    if str(content["memory"]) == _digest(row_ids):
      return _neighbors(content, row_ids)
  except ValueError as error:
    raise ValueError(
      f"{path} is not a whole neighbor file ({error}): delete it and search"
      " again."
    ) from error
  raise ValueError(f"{path} belongs to a memory of other rows.")


def _neighbors(content, row_ids: np.ndarray) -> Neighbors:
  """The neighbors in a file's arrays.

  Raises:
    ValueError: values that no search gives; names the query.
  """
  indices, similarities = content["indices"], content["similarities"]
  labels, redone = content["labels"], content["num_redone"]
  kinds = [(indices, "i"), (labels, "i"), (similarities, "f"), (redone, "i")]
  if any(array.dtype.kind != kind for array, kind in kinds) or redone.ndim:
    raise ValueError("its arrays are not of the types that were written")
  if indices.ndim != 2 or not (
    indices.shape == labels.shape == similarities.shape and indices.shape[1]
  ):
    raise ValueError("its arrays do not have one shape [Q, k]")
  queries = np.arange(len(indices))
  record_checks.check_range(indices, queries, len(row_ids))
  record_checks.check_sorted(similarities, queries, kind="similarities")
  if (labels < UNLABELED).any() or not 0 <= redone <= len(indices):
    raise ValueError("it has labels or counts that nothing can have")
  return Neighbors(
    ids=row_ids[indices],
    indices=indices.astype(np.int32, copy=False),
    labels=labels.astype(np.int32, copy=False),
    similarities=similarities,
    num_redone=int(redone),
  )


def neighbors_fingerprint(near: Neighbors) -> str:
  """The sha256, in hexadecimal, of the neighbors' ids in order.

  Hashed is an ASCII text with one line for each query, in order: the JSON
  array of its ids, best first, without spaces and with everything beyond ASCII
  escaped, then a newline. Equal fingerprints mean equal ids in equal places.
  """
  digest = hashlib.sha256()
  for row in near.ids:
    line = json.dumps([str(value) for value in row], separators=(",", ":"))
    digest.update(line.encode("ascii") + b"\n")
  return digest.hexdigest()


def _digest(row_ids: np.ndarray) -> str:
  """A hash of ids in order."""
  digest = hashlib.sha256()
  for row_id in row_ids:
    digest.update(row_id.encode("utf-8", "surrogateescape") + b"\0")
  return digest.hexdigest()
