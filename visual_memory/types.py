"""The vocabulary: the values that flow from images to votes.

Shape letters, everywhere: B batch, Q queries, N memory rows, D embedding
dimension, k neighbors, K reported values of k, C classes, H W pixels, S image
side, P patches, V views.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped, UInt8

from visual_memory import showing, when_needed
from visual_memory.checks import (
  Array,
  Ids,
  as_class_names,
  as_embeddings,
  as_id_column,
  as_ids,  # noqa: F401  # Where others find it.
  as_labels,
  check_classes,
  check_counts,
  check_unique,
  check_unit_rows,
)

UNLABELED = -1
"""The label of an example whose class is not known."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """One image of a data source.

  Attributes:
    image: uint8 RGB pixels, [H, W, 3].
    label: index into the source's class_names, or UNLABELED.
    id: identity of the example in the world, unique and stable across runs.
  """

  image: UInt8[np.ndarray, "H W 3"]
  label: int
  id: str


@when_needed.pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
  """A fixed-shape batch of preprocessed images.

  Attributes:
    images: normalized float32 pixels, [B, H, W, 3]; or, of each, the bytes of
      which the device makes them, [B, N].
    mask: [B] bool; True is a real image, False is padding.
  """

  images: Shaped[Array, "B *image"]
  mask: Bool[Array, "B"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class EmbeddedSet:
  """Labelled embeddings of one encoder, on the host.

  Build one with `embedded_set`, which validates.

  Attributes:
    embeddings: float32 rows of unit length (or all zero), [N, D].
    labels: int32 indices into class_names (UNLABELED where unknown), [N].
    ids: unique strings, [N]: a NumPy object array, or one of StringDType if
      that was given, or a memory has a million rows: it is much smaller.
    class_names: one name for each class index.
    fingerprint: the encoder's fingerprint: weights, preprocessing, version.
  """

  embeddings: Float32[np.ndarray, "N D"]
  labels: Int[np.ndarray, "N"]
  ids: np.ndarray
  class_names: tuple[str, ...]
  fingerprint: str

  def __len__(self) -> int:
    """The number of rows."""
    return len(self.labels)

  def __repr__(self) -> str:
    """How many rows of which encoder; the arrays are not listed."""
    return showing.line("EmbeddedSet", *self._facts(), repr(self.fingerprint))

  def _repr_html_(self) -> str:
    """The same as a card, with the rows of each class."""
    counts = np.bincount(self.labels[self.labels >= 0])
    bars = dict(zip(self.class_names, counts.tolist(), strict=False))
    parts = [showing.bars(bars), showing.note(self.fingerprint)]
    return showing.card("EmbeddedSet", self._facts(), parts)

  def _facts(self) -> tuple[str, ...]:
    """What is worth knowing."""
    return (
      f"{len(self):,} x {self.embeddings.shape[1]:,}",
      showing.counted(self.num_classes, "class", "classes"),
    )

  @property
  def num_classes(self) -> int:
    """The number of class names."""
    return len(self.class_names)

  def take(self, rows: Sequence[int] | np.ndarray) -> "EmbeddedSet":
    """The rows at these positions (or under this boolean mask), in order."""
    rows = _positions(rows)
    return dataclasses.replace(
      self,
      embeddings=self.embeddings[rows],
      labels=self.labels[rows],
      ids=self.ids[rows],
    )


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Neighbors:
  """The k nearest rows of each query, best first; host arrays.

  Order: similarity descending, then serial (order of insertion) ascending.

  Attributes:
    ids: the neighbors' ids, [Q, k] (a NumPy object array of str); looked up
      when they are first read, since most uses need none.
    indices: the neighbors' positions, int32 [Q, k]: a row's place among the
      rows that were there, in order of insertion, 0 to N - 1. So
      `memory.ids[near.indices] == near.ids`, and likewise with the ids of the
      EmbeddedSet that a memory was made from, as long as it was not edited.
    labels: int32 class indices, [Q, k].
    similarities: float32 dot products, [Q, k].
    num_redone: how many queries the fast pass could not certify, and were
      answered again by the exhaustive exact scan (speed, never correctness).
    class_names: one for each label; None where nobody told.
  """

  ids: np.ndarray | Callable[[], np.ndarray] = when_needed.Field()
  indices: Int[Array, "Q k"]
  labels: Int[Array, "Q k"]
  similarities: Float[Array, "Q k"]
  num_redone: int = 0
  class_names: tuple[str, ...] | None = None

  def __getstate__(self) -> dict[str, Any]:
    """What is pickled: the ids, and not what they would be looked up in."""
    return self.__dict__ | {"_ids": self.ids}

  @property
  def k(self) -> int:
    """Neighbors per query."""
    return self.indices.shape[1]

  def __len__(self) -> int:
    """The number of queries."""
    return self.indices.shape[0]

  @property
  def names(self) -> np.ndarray:
    """The neighbors' class names, None for UNLABELED ones, [Q, k] (objects).

    Raises:
      ValueError: nobody told the class names.
    """
    return _named(self.labels, self.class_names)

  def __repr__(self) -> str:
    """How many of how many; the arrays are not listed."""
    return showing.line("Neighbors", *self._facts())

  def _repr_html_(self) -> str:
    """The nearest rows of the first queries, as a card."""
    few = self.take(range(min(len(self), 3))).first(5)
    labels = few.names if self.class_names else few.labels
    rows = [
      [
        showing.text(f"query {query}" if not rank else ""),
        showing.text(few.ids[query, rank]),
        showing.text(labels[query, rank]),
        showing.bar(
          float(few.similarities[query, rank]),
          f"{few.similarities[query, rank]:.3f}",
        ),
      ]
      for query, rank in np.ndindex(few.ids.shape)
    ]
    table = showing.table(("", "row", "class", "similarity"), rows)
    hint = showing.note("vm.show(near, source) shows the pictures")
    return showing.card("Neighbors", self._facts(), [table, hint])

  def _facts(self) -> tuple[str, ...]:
    """What is worth knowing."""
    queries = showing.counted(len(self), "query", "queries")
    return queries, f"k = {self.k:,}"

  def check_rows(self, row_ids: Ids) -> None:
    """Raises ValueError unless the neighbors are rows of these ids, [N].

    Each neighbor's own id must stand at its position: what is looked up by
    `indices` in arrays of that order is then right.
    """
    row_ids, indices = np.asarray(row_ids, object), np.asarray(self.indices)
    right = (indices >= 0) & (indices < len(row_ids))
    right[right] = row_ids[indices[right]] == self.ids[right]
    if not right.all():
      query, rank = np.argwhere(~right)[0]
      raise ValueError(
        f"The neighbor {self.ids[query, rank]!r} of query {query} is not row"
        f" {indices[query, rank]} of these {len(row_ids)} rows: the neighbors"
        " belong to another memory."
      )

  def first(self, k: int) -> "Neighbors":
    """The nearest k of each query's neighbors (all, if there are fewer)."""
    return dataclasses.replace(
      self,
      ids=self.ids[:, :k],
      indices=np.asarray(self.indices)[:, :k],
      labels=np.asarray(self.labels)[:, :k],
      similarities=np.asarray(self.similarities)[:, :k],
    )

  def take(self, queries: Sequence[int] | np.ndarray) -> "Neighbors":
    """The neighbors of these queries (positions or a boolean mask) alone."""
    queries = _positions(queries)
    return dataclasses.replace(
      self,
      ids=self.ids[queries],
      indices=np.asarray(self.indices)[queries],
      labels=np.asarray(self.labels)[queries],
      similarities=np.asarray(self.similarities)[queries],
    )


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Votes:
  """What the neighbors of Q queries voted for, at K values of k; host arrays.

  Attributes:
    predictions: int32 classes, UNLABELED where no neighbor has a label, [K, Q].
    ks: how many neighbors voted, [K].
    class_names: one for each class; None where nobody told.
    compute_scores: makes `class_scores`, which few need and which is large.
  """

  predictions: Int[np.ndarray, "K Q"]
  ks: tuple[int, ...]
  class_names: tuple[str, ...] | None = None
  compute_scores: Callable[[], np.ndarray] = dataclasses.field(compare=False)

  @functools.cached_property
  def class_scores(self) -> Float32[np.ndarray, "K Q C"]:
    """The summed weights of each class, [K, Q, C]; made on first access."""
    return self.compute_scores()

  @property
  def names(self) -> np.ndarray:
    """The predicted classes by name, None where there is none, [K, Q].

    Raises:
      ValueError: nobody told the class names.
    """
    return _named(self.predictions, self.class_names)

  def __repr__(self) -> str:
    """Which k, how many queries, and what the first were found to be."""
    first = self.predictions[-1, :3].tolist()
    if self.class_names is not None:
      first = [str(name) for name in self.names[-1, :3]]
    more = ", ..." if self.predictions.shape[1] > 3 else ""
    return showing.line("Votes", *self._facts(), f"{first}{more}")

  def _repr_html_(self) -> str:
    """The predictions for the first queries, as a card."""
    shown = self.predictions[:, :10]
    if self.class_names is not None:
      shown = self.names[:, :10]
    rows = [
      [showing.text(query), *map(showing.text, shown[:, query])]
      for query in range(shown.shape[1])
    ]
    headings = ("query", *(f"k = {k}" for k in self.ks))
    parts = [showing.table(headings, rows)]
    return showing.card("Votes", self._facts(), parts)

  def _facts(self) -> tuple[str, ...]:
    """What is worth knowing."""
    count = self.predictions.shape[1]
    ks = ", ".join(map(str, self.ks[:5])) + ", ..." * (len(self.ks) > 5)
    return showing.counted(count, "query", "queries"), f"k = {ks}"


def _named(labels: Array, class_names: tuple[str, ...] | None) -> np.ndarray:
  """Labels as names (an object array), None where UNLABELED."""
  if class_names is None:
    raise ValueError(
      "These neighbors came without class names: use the labels, or search a"
      " memory."
    )
  names = np.array([*class_names, None], object)
  return names[np.asarray(labels)]  # UNLABELED is -1: the last.


def _positions(rows: Sequence[int] | np.ndarray) -> np.ndarray:
  """Positions or a boolean mask as an array; an empty list is no float."""
  rows = np.asarray(rows)
  return rows if rows.size or rows.dtype == bool else rows.astype(np.int64)


def embedded_set(
  embeddings: Array,
  labels: Array,
  ids: Ids,
  *,
  class_names: Sequence[str],
  fingerprint: str,
) -> EmbeddedSet:
  """An EmbeddedSet, after checking every promise that its fields make.

  Args:
    embeddings: [N, D], unit length within 1e-3 or all zero, finite.
    labels: [N] integers in [-1, len(class_names)).
    ids: [N] unique strings.
    class_names: the name of each class.
    fingerprint: the encoder's fingerprint.

  Raises:
    ValueError: names the first offending row and what is wrong with it.
  """
  embeddings = as_embeddings(embeddings)
  labels = as_labels(labels)
  ids = as_id_column(ids)
  class_names = as_class_names(class_names)
  check_counts(embeddings, labels, ids)
  check_unit_rows(embeddings, ids)
  check_unique(ids)
  check_classes(labels, ids, len(class_names), unlabeled=UNLABELED)
  return EmbeddedSet(
    embeddings=embeddings,
    labels=labels.astype(np.int32),
    ids=ids,
    class_names=class_names,
    fingerprint=fingerprint,
  )
