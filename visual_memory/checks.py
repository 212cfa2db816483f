"""What callers give, checked: lists, ids, labels, class names, embeddings.

Each rule stands here once, with its sentence. Whatever takes ids or labels
goes through these before any work begins, so that a str where a list is meant,
or the numbers of rows where their ids are meant, is an error at once and never
an answer.
"""

import reprlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Int

from visual_memory import parallel, subnormals

if TYPE_CHECKING:
  import jax

  Array = jax.Array | np.ndarray
else:

  class _Arrays(type):
    """What is an array is known without importing JAX, which is slow."""

    def __instancecheck__(cls, value: Any) -> bool:
      kinds = np.ndarray, getattr(sys.modules.get("jax"), "Array", np.ndarray)
      return isinstance(value, kinds)

  class Array(metaclass=_Arrays):
    """A device or a host array: the numeric core accepts both."""


Ids = Sequence[str] | np.ndarray
"""Identities of examples: strings, in a sequence or an object array; or in an
array of NumPy's StringDType, which takes a fifth of the memory."""


_MANY_IDS = 1 << 20

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200


def shown(value: Any) -> str:
  """A value as errors show it: whole, unless it is very long."""
  return _SHORT.repr(value)


def as_list(values: Iterable[Any], what: str) -> list[Any]:
  """The values of anything that has an order: a list, a tuple, an array [N].

  Raises:
    ValueError: a str, a set or mapping, an array of another shape, or masked
      entries.
  """
  kind, given = type(values).__name__, shown(values)
  if isinstance(values, (str, bytes)):
    raise ValueError(
      f"{what} must be a list; got the {kind} {given}: write [{given}]."
    )
  if isinstance(values, (set, frozenset, Mapping)):
    raise ValueError(f"{what} must have an order; got a {kind}: give a list.")
  refuse_masked(values, what)
  if getattr(values, "ndim", 1) != 1:
    raise ValueError(f"{what} must be a list or [N]; got {values.shape}.")
  if isinstance(values, np.ndarray) and values.dtype.kind == "U":
    check_text(values, what)
  try:
    return values.tolist() if hasattr(values, "tolist") else list(values)
  except TypeError:
    raise ValueError(f"{what} must be a list; got a {kind}.") from None


def check_text(values: np.ndarray, what: str) -> None:
  """Raises ValueError for code points that no text has.

  NumPy makes strings of any four bytes, which Python then cannot handle.
  """
  native = values.astype(values.dtype.newbyteorder("="))
  points = np.frombuffer(native.tobytes(), np.uint32)
  if points.max(initial=0) > sys.maxunicode:
    raise ValueError(f"{what}: an entry is no text.")


def refuse_masked(values: Any, what: str) -> None:
  """Raises ValueError if a masked array has masked entries, naming one."""
  if np.ma.is_masked(values):
    row = int(np.argwhere(np.ma.getmaskarray(values))[0][0])
    raise ValueError(f"{what}: entry {row} is masked: fill it or leave it out.")


def as_ids(ids: Ids, *, what: str = "ids") -> np.ndarray:
  """Ids as an object array of str, [N].

  Raises:
    ValueError: no list of strings; names the first that is none.
  """
  ids = as_list(ids, what)
  array = np.empty(len(ids), dtype=object)
  if set(map(type, ids)) <= {str}:  # As nearly always, and much quicker.
    array[:] = ids
    return array
  for row, value in enumerate(ids):
    if not isinstance(value, str):
      raise ValueError(f"{what} must be strings; id {row} is {shown(value)}.")
    array[row] = str(value)
  return array


def empty_ids(count: int) -> np.ndarray:
  """An array for so many ids, all "": compact where they are many.

  An object for each is looked up faster, but takes five times the memory.
  """
  if count < _MANY_IDS:
    return np.full(count, "", object)
  return np.zeros(count, np.dtypes.StringDType())  # Zero is "" there.


def is_compact(ids: Any) -> bool:
  """Whether ids are one array of text, rather than an object each."""
  return getattr(ids, "dtype", None) == np.dtypes.StringDType()


def as_id_column(ids: Ids) -> np.ndarray:
  """Ids as `as_ids` returns them, but for a compact array, which stays one.

  Raises:
    ValueError: no list of strings; names the first that is none.
  """
  return ids if is_compact(ids) and ids.ndim == 1 else as_ids(ids)


def hashes(ids: Ids) -> Int[np.ndarray, "N"]:
  """Python's hash of each id, int64: equal for equal ids in this process."""
  return np.fromiter(map(hash, ids), np.int64, len(ids))


def as_labels(labels: Sequence[int] | Array) -> Int[np.ndarray, "N"]:
  """Labels as an integer array, [N].

  Raises:
    ValueError: no integers, another shape, or masked entries.
  """
  if not hasattr(labels, "ndim"):
    labels = as_list(labels, "labels")
  refuse_masked(labels, "labels")
  array = np.asarray(labels)
  if array.ndim != 1:
    raise ValueError(f"labels must be [N]; got {array.shape}.")
  if array.size and not np.issubdtype(array.dtype, np.integer):
    raise ValueError(f"labels must be integers; got {array.dtype}.")
  return array.astype(np.int64) if not array.size else array


def as_class_names(names: Sequence[str]) -> tuple[str, ...]:
  """Class names, each of them once.

  Raises:
    ValueError: no list of strings, or a name that two classes have.
  """
  names = tuple(as_ids(names, what="class_names").tolist())
  if len(set(names)) < len(names):
    index = next(i for i, name in enumerate(names) if name in names[:i])
    raise ValueError(
      f"class_names has {shown(names[index])} twice, for class"
      f" {names.index(names[index])} and class {index}: give each class a name"
      " of its own."
    )
  return names


def as_embeddings(embeddings: Array) -> Float32[np.ndarray, "N D"]:
  """Embeddings as float32 [N, D] on the host; their lengths are not checked.

  Subnormal entries become zero (see `subnormals`).

  Raises:
    ValueError: no numbers, another shape, or masked entries.
  """
  refuse_masked(embeddings, "embeddings")
  array = np.asarray(embeddings)
  if array.dtype.kind in "bcOSUMm":
    raise ValueError(f"embeddings must be real numbers; got {array.dtype}.")
  if array.ndim != 2:
    raise ValueError(f"embeddings must be [N, D]; got {array.shape}.")
  return subnormals.flushed(np.ascontiguousarray(array, dtype=np.float32))


def check_counts(embeddings: Array, labels: Array, ids: Ids) -> int:
  """How many rows there are; raises ValueError if they differ in number."""
  if not len(embeddings) == len(labels) == len(ids):
    raise ValueError(
      f"{len(embeddings)} embeddings, {len(labels)} labels and {len(ids)} ids:"
      " one of each is needed for every row."
    )
  return len(ids)


def check_classes(
  labels: Int[np.ndarray, "N"], ids: Ids, num_classes: int, *, unlabeled: int
) -> None:
  """Raises ValueError for a label of no class, naming the first such row."""
  bad = (labels < unlabeled) | (labels >= num_classes)
  if bad.any():
    row = int(np.argmax(bad))
    raise ValueError(
      f"Row {row} (id {shown(ids[row])}) has label {labels[row]}, but there"
      f" are {num_classes} class names: labels go from 0 to"
      f" {num_classes - 1} (or {unlabeled} for unknown)."
    )


def check_unique(ids: np.ndarray) -> None:
  """Raises ValueError if an id appears twice, naming it."""
  found = hashes(ids)
  ordered = np.sort(found)
  doubtful = ordered[1:][ordered[1:] == ordered[:-1]]
  seen = set()
  for row in np.flatnonzero(np.isin(found, doubtful)).tolist():
    value = ids[row]
    if value in seen:
      raise ValueError(
        f"Duplicate id {shown(value)} (row {row}): every example needs an id"
        " of its own."
      )
    seen.add(value)


def are_unit_rows(
  embeddings: Float32[np.ndarray, "N D"],
) -> Bool[np.ndarray, "N"]:
  """Which rows are finite and of length one (within 1e-3) or zero."""
  return _are_unit(_lengths(embeddings))


def check_unit_rows(
  embeddings: Float32[np.ndarray, "N D"], ids: np.ndarray
) -> None:
  """Raises ValueError unless every row is finite and of length one or zero."""
  lengths = _lengths(embeddings)
  good = _are_unit(lengths)
  if not good.all():
    row = int(np.argmin(good))
    problem = (
      f"has length {lengths[row]:.4g}"
      if np.isfinite(lengths[row])
      else "holds NaN or infinity"
    )
    raise ValueError(
      f"Embedding row {row} (id {shown(ids[row])}) {problem}; embeddings must"
      " be finite and of unit length (divide each row by its norm)."
    )


def _lengths(embeddings: np.ndarray) -> np.ndarray:
  def of_part(part: slice) -> np.ndarray:
    rows = embeddings[part]
    with np.errstate(over="ignore", invalid="ignore"):
      return np.sqrt(np.einsum("nd,nd->n", rows, rows))

  found = parallel.run(of_part, parallel.parts(embeddings))
  return np.concatenate([np.zeros(0, np.float32), *found])


def _are_unit(lengths: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore"):
    return (np.abs(lengths - 1) <= 1e-3) | (lengths == 0)  # NaN is neither.
