"""Some rows of a source, as a source: subsets, classes, the tuning split.

known = only_classes(source, ["cat"])
memory_side, tune_side = split_tune(source, fraction=0.1, seed=0)
"""

import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Float64, Int

from visual_memory import types
from visual_memory.data import image_source
from visual_memory.data.image_source import ImageSource


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Subset(image_source.Described):
  """Rows of another source, whose class indices it keeps.

  Build one with `subset`.

  Attributes:
    source: where the images are.
    rows: int64 positions in it, [N].
    labels: int32 [N].
    ids: [N].
    fingerprint: hash of the source's fingerprint and the rows.
  """

  source: ImageSource
  rows: Int[np.ndarray, "N"]
  labels: Int[np.ndarray, "N"]
  ids: np.ndarray
  fingerprint: str

  @property
  def class_names(self) -> tuple[str, ...]:
    """The source's class names, all of them."""
    return self.source.class_names

  @property
  def taxonomy(self) -> tuple[tuple[str, ...], ...] | None:
    """The source's taxonomy, if it has one."""
    return getattr(self.source, "taxonomy", None)

  @property
  def mask(self) -> Callable[[SupportsIndex], np.ndarray]:
    """The masks of a source that has them; else there is no attribute."""
    read = self.source.mask
    return lambda row: read(self.rows[row])

  def __len__(self) -> int:
    """The number of rows."""
    return len(self.rows)

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The image at this position of the subset."""
    return self.source[self.rows[row]]


def sample(source: ImageSource, count: int, *, seed: int) -> ImageSource:
  """`count` images drawn by their ids, in their order; 0 or too many: all.

  A larger sample of the same seed holds the smaller ones.
  """
  if not 0 < count < len(source):
    return source
  numbers = id_hash(source.ids, salt=f"sample/{seed}")
  return subset(source, np.sort(np.argsort(numbers, kind="stable")[:count]))


def subset(source: ImageSource, rows: Sequence[int] | np.ndarray) -> Subset:
  """The rows at these positions (or under this boolean mask), in this order.

  Raises:
    ValueError: a position outside the source, a repeated one, or a mask of
      another length.
  """
  rows = np.asarray(rows)
  if rows.dtype == bool:
    if rows.shape != (len(source),):
      raise ValueError(
        f"A mask of shape {rows.shape} cannot select from {len(source)} rows."
      )
    rows = np.flatnonzero(rows)
  rows = rows.astype(np.int64)
  outside = (rows < 0) | (rows >= len(source))
  if outside.any():
    raise ValueError(
      f"Row {rows[np.argmax(outside)]} is not in a source of {len(source)}"
      " rows."
    )
  if len(np.unique(rows)) != len(rows):
    raise ValueError("A row was selected twice; ids would not be unique.")
  return Subset(
    source=source,
    rows=rows,
    labels=source.labels[rows],
    ids=source.ids[rows],
    fingerprint=image_source.digest(
      source.fingerprint, hashlib.sha256(rows.tobytes()).hexdigest()
    ),
  )


def only_classes(source: ImageSource, classes: Sequence[str | int]) -> Subset:
  """The rows of these classes (names or indices).

  Raises:
    ValueError: the source has no such class.
  """
  return subset(source, _in_classes(source, classes))


def _in_classes(
  source: ImageSource, classes: Sequence[str | int]
) -> Bool[np.ndarray, "N"]:
  """Which rows belong to one of the classes."""
  names = list(source.class_names)
  wanted = []
  for value in classes:
    known = (
      value in names if isinstance(value, str) else 0 <= value < len(names)
    )
    if not known:
      raise ValueError(
        f"There is no class {value!r}; the classes are"
        f" {image_source.known_names(names)}."
      )
    wanted.append(names.index(value) if isinstance(value, str) else value)
  return np.isin(source.labels, wanted)


def split_tune(
  source: ImageSource, *, fraction: float, seed: int
) -> tuple[Subset, Subset]:
  """The memory side and the tuning side of a source.

  Args:
    source: the data that the memory may see.
    fraction: about how much goes to the tuning side, in (0, 1).
    seed: which split.

  Raises:
    ValueError: fraction out of range, or so few rows that a side is empty.
  """
  is_tune = tune_mask(source.ids, fraction=fraction, seed=seed)
  if is_tune.all() or not is_tune.any():
    raise ValueError(
      f"{len(source)} rows leave nothing on one side of a tuning split of"
      f" {fraction}: use more rows or another fraction."
    )
  return subset(source, ~is_tune), subset(source, is_tune)


def tune_mask(
  ids: np.ndarray, *, fraction: float, seed: int
) -> Bool[np.ndarray, "N"]:
  """Which rows are on the tuning side.

  A row's side depends on its id and the seed alone: it stays where it is when
  other rows come, go or change places.
  """
  if not 0 < fraction < 1:
    raise ValueError(f"fraction must lie between 0 and 1; got {fraction}.")
  return id_hash(ids, salt=f"tune/{seed}") < fraction


def id_hash(
  ids: np.ndarray | Sequence[str], *, salt: str
) -> Float64[np.ndarray, "N"]:
  """A number in [0, 1) for each id, uniform over ids and independent of order.

  Args:
    ids: [N] strings.
    salt: different salts give independent numbers.
  """
  start = hashlib.blake2b(salt.encode(), digest_size=8)

  def hashed(id):
    state = start.copy()
    state.update(b"\0" + id.encode("utf-8", "surrogateescape"))
    # 53 bits are what a float64 below 1 can hold.
    return (int.from_bytes(state.digest(), "big") >> 11) / 2**53

  return np.fromiter((hashed(id) for id in ids), np.float64, count=len(ids))


def among(
  ids: Iterable[Hashable], chosen: Iterable[Hashable]
) -> Bool[np.ndarray, "N"]:
  """Mask of the ids that are among the chosen ones, [N] bool."""
  chosen = set(chosen)
  return np.array([row_id in chosen for row_id in ids], bool)
