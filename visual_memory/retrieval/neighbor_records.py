"""Neighbors with everything that an analysis asks for: no images, no encoder.

  save_records("val.npz", records)
  records = load_records("val.npz")
  table = accuracy_table(records.near, records.query_labels, ...)

One file of arrays, readable without pickle: for each neighbor its row (int32)
and its similarity or distance, and beside them the ids and labels of queries
and rows, each once. A neighbor takes 8 bytes, where the published JSON takes
about 50; see `published_files`.
"""

import dataclasses
import functools
import os
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from visual_memory import files
from visual_memory.checks import (
  Ids,
  as_class_names,
  as_ids,
  as_labels,
  check_unique,
  shown,
)
from visual_memory.retrieval import record_checks
from visual_memory.types import UNLABELED, Neighbors

_FORMAT = 2
KINDS = ("similarities", "distances")
_ARRAYS = (
  "format", "kind", "places", "values", "query_ids", "query_labels",
  "row_ids", "row_labels", "class_names", "featurizer", "has_sets",
  "set_sizes", "set_labels",
)  # fmt: skip
_MOST_RATIO, _LEAST_TEXT = 1100, 1 << 20
"""What names may unpack to: zlib's own limit, and never less than this."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighborRecords:
  """The neighbors of queries in a memory; build one with `neighbor_records`.

  Attributes:
    positions: of each neighbor among row_ids, int32 [Q, k].
    values: its similarity, or its distance 1 - similarity, [Q, k].
    kind: which of the two, as they were written.
    query_ids: [Q].
    query_labels: int32, UNLABELED where unknown or several, [Q].
    label_sets: for queries with several right labels (ReaL), all of them.
    row_ids: the memory's ids, [N].
    row_labels: int32 [N].
    class_names: one for each label.
    featurizer: the name (or fingerprint) of the encoder.
  """

  positions: Int[np.ndarray, "Q k"]
  values: Float[np.ndarray, "Q k"]
  kind: str
  query_ids: np.ndarray
  query_labels: Int[np.ndarray, "Q"]
  label_sets: tuple[tuple[int, ...], ...] | None
  row_ids: np.ndarray
  row_labels: Int[np.ndarray, "N"]
  class_names: tuple[str, ...]
  featurizer: str

  def __len__(self) -> int:
    """The number of queries."""
    return len(self.positions)

  @property
  def k(self) -> int:
    """Neighbors of each query."""
    return self.positions.shape[1]

  @functools.cached_property
  def near(self) -> Neighbors:
    """The neighbors; their indices are positions among row_ids."""
    values = np.asarray(self.values)
    if self.kind == "distances":
      values = 1 - values.astype(np.float64)
    return Neighbors(
      ids=self.row_ids[self.positions],
      indices=np.asarray(self.positions),
      labels=self.row_labels[self.positions],
      similarities=values.astype(np.float32),
      class_names=self.class_names,
    )

  @property
  def distances(self) -> Float[np.ndarray, "Q k"]:
    """1 - similarity, as written if that is what was written."""
    if self.kind == "distances":
      return self.values
    return 1 - np.asarray(self.values, np.float64)

  def without_self(self) -> "NeighborRecords":
    """Each query's neighbors but itself, one fewer.

    As published: where a query is not among its neighbors, the last goes.
    """
    position = {value: row for row, value in enumerate(self.row_ids)}
    own = np.array([position.get(value, -1) for value in self.query_ids])
    mine = self.positions == own[:, None]
    gone = np.where(mine.any(axis=1), mine.argmax(axis=1), self.k - 1)
    left = np.arange(self.k - 1)[None]
    left = left + (left >= gone[:, None])
    return dataclasses.replace(
      self,
      positions=np.take_along_axis(self.positions, left, axis=1),
      values=np.take_along_axis(self.values, left, axis=1),
    )


def neighbor_records(
  positions: Int[np.ndarray, "Q k"],
  values: Float[np.ndarray, "Q k"],
  *,
  kind: str,
  query_ids: Ids,
  query_labels: Sequence[int] | np.ndarray,
  label_sets: Sequence[Sequence[int]] | None = None,
  row_ids: Ids,
  row_labels: Sequence[int] | np.ndarray,
  class_names: Sequence[str],
  featurizer: str,
) -> NeighborRecords:
  """NeighborRecords, after checking every promise that its fields make.

  Raises:
    ValueError: lengths that differ, an id that occurs twice, a position or
      label out of range, or neighbors that are not the nearest first; names it.
  """
  query_ids, row_ids = as_ids(query_ids), as_ids(row_ids)
  class_names = as_class_names(class_names)
  for texts in (query_ids, row_ids, class_names, (featurizer,)):
    record_checks.check_writable(texts)
  check_unique(query_ids)
  check_unique(row_ids)
  query_labels, row_labels = as_labels(query_labels), as_labels(row_labels)
  positions, values = record_checks.as_numbers(positions, values)
  if kind not in KINDS:
    raise ValueError(f"Unknown kind {kind!r}; choose from {', '.join(KINDS)}.")
  if not (
    positions.ndim == 2
    and positions.shape[1]
    and positions.shape == values.shape
    and len(positions) == len(query_ids) == len(query_labels)
    and len(row_ids) == len(row_labels)
    and (label_sets is None or len(label_sets) == len(positions))
  ):
    raise ValueError(
      f"Positions {positions.shape}, values {values.shape}, {len(query_ids)}"
      f" query ids, {len(query_labels)} query labels, {len(row_ids)} row ids"
      f" and {len(row_labels)} row labels do not fit together."
    )
  record_checks.check_range(positions, query_ids, len(row_ids))
  for name, labels in (("query", query_labels), ("row", row_labels)):
    bad = (labels < UNLABELED) | (labels >= len(class_names))
    if bad.any():
      raise ValueError(
        f"The {name} {np.argmax(bad)} has label {labels[np.argmax(bad)]}, but"
        f" there are {len(class_names)} class names."
      )
  if label_sets is not None:
    label_sets = record_checks.as_sets(label_sets, query_ids, len(class_names))
  record_checks.check_sorted(values, query_ids, kind=kind)
  record_checks.check_near(values, query_ids, kind=kind)
  return NeighborRecords(
    positions=positions.astype(np.int32, copy=False),
    values=values,
    kind=kind,
    query_ids=query_ids,
    query_labels=query_labels.astype(np.int32, copy=False),
    label_sets=label_sets,
    row_ids=row_ids,
    row_labels=row_labels.astype(np.int32, copy=False),
    class_names=class_names,
    featurizer=featurizer,
  )


def save_records(
  path: str | os.PathLike, records: NeighborRecords, *, precision="exact"
) -> None:
  """Writes a .npz file; it appears whole or not at all.

  Args:
    path: of the file.
    records: to write.
    precision: "exact" keeps every value (float32, or float64 where they need
      it); "float16" rounds them: a quarter smaller, and no longer lossless.

  Raises:
    ValueError: unknown precision.
  """
  if precision not in ("exact", "float16"):
    raise ValueError(f"Unknown precision {precision!r}: exact or float16.")
  values = records.values
  if precision == "float16":
    values = np.asarray(values).astype(np.float16)
  sets = records.label_sets
  with files.replacing(path) as partial, open(partial, "wb") as file:
    np.savez(
      file,
      format=_FORMAT,
      kind=records.kind,
      places=records.positions,
      values=values,
      query_ids=_packed(records.query_ids),
      query_labels=records.query_labels,
      row_ids=_packed(records.row_ids),
      row_labels=records.row_labels,
      class_names=_packed(records.class_names),
      featurizer=records.featurizer,
      has_sets=sets is not None,
      set_sizes=np.array([len(x) for x in sets or ()], np.int32),
      set_labels=np.array([x for xs in sets or () for x in xs], np.int32),
    )


def load_records(
  path: str | os.PathLike, *, row_ids: Ids | None = None
) -> NeighborRecords:
  """The records that `save_records` wrote.

  Args:
    path: of the file.
    row_ids: the ids of the memory that they must belong to; any, if absent.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: a file that is cut off or another one, or neighbors that are
      not among row_ids (naming one).
  """
  if not os.path.exists(path):
    raise FileNotFoundError(
      f"There is no neighbor file at {os.fspath(path)!r}."
    )
  try:
    content = files.formatted_arrays(path, _ARRAYS, _FORMAT)
    sets = _unpacked_sets(content) if content["has_sets"] else None
    records = neighbor_records(
      content["places"],
      content["values"],
      kind=_text(content["kind"]),
      query_ids=_unpacked(content["query_ids"]),
      query_labels=content["query_labels"],
      label_sets=sets,
      row_ids=_unpacked(content["row_ids"]),
      row_labels=content["row_labels"],
      class_names=_unpacked(content["class_names"]),
      featurizer=_text(content["featurizer"]),
    )
  except Exception as error:
    raise ValueError(
      f"{os.fspath(path)!r} is not a whole neighbor file: {error}"
    ) from error
  if row_ids is not None:
    check_known(records, row_ids)
  return records


def check_known(records: NeighborRecords, row_ids: Ids) -> None:
  """Raises ValueError if a row of the records is not among row_ids."""
  known = set(row_ids)
  unknown = [value for value in records.row_ids if value not in known]
  if unknown:
    raise ValueError(
      f"{len(unknown)} rows of the neighbor file are unknown to the memory, for"
      f" example {shown(unknown[0])}: it belongs to another memory."
    )


def _packed(names: Ids) -> np.ndarray:
  """Strings as compressed bytes; none may hold a NUL."""
  text = "\0".join(names).encode("utf-8", "surrogateescape")
  packed = np.frombuffer(zlib.compress(text), np.uint8)
  return np.concatenate([np.frombuffer(len(names).to_bytes(8, "big"), np.uint8),
                         packed])  # fmt: skip


def _unpacked(packed: np.ndarray) -> list[str]:
  """The strings that `_packed` packed.

  Raises:
    ValueError: something else, or texts that are longer than any are.
  """
  if packed.dtype != np.uint8 or packed.ndim != 1:
    raise ValueError("its names are no bytes")
  count = int.from_bytes(packed[:8].tobytes(), "big")
  most = max(_LEAST_TEXT, _MOST_RATIO * len(packed))
  unpacker = zlib.decompressobj()
  text = unpacker.decompress(packed[8:].tobytes(), most)
  if unpacker.unconsumed_tail or not unpacker.eof:
    raise ValueError("its names are cut off, or longer than any are")
  names = text.decode("utf-8", "surrogateescape").split("\0")
  names = names if count else []
  if len(names) != count:
    raise ValueError(f"it has {len(names)} names where it says {count}")
  return names


def _unpacked_sets(content: dict[str, np.ndarray]) -> list[list[int]]:
  """The label sets of a file."""
  sizes, labels = content["set_sizes"], content["set_labels"]
  for values in (sizes, labels):
    if values.dtype.kind not in "iu" or values.ndim != 1:
      raise ValueError("its label sets are no whole numbers")
  sizes = sizes.astype(np.int64)
  if (sizes < 0).any() or sizes.sum() != len(labels):
    raise ValueError("its label sets do not have the sizes that it says")
  return [x.tolist() for x in np.split(labels, np.cumsum(sizes)[:-1])]


def _text(value: np.ndarray) -> str:
  """A text that was kept as an array."""
  if value.dtype.kind != "U" or value.ndim:
    raise ValueError(f"it holds {value.dtype} where a text belongs")
  return str(value)
