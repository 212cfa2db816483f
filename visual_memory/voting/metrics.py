"""How often a vote is right: exact counts, which merge over batches.

  table = accuracy_table(near, labels, settings=published_settings(),
                         ks=(1, 10, 100), num_classes=10)
  table = table.merge(accuracy_table(more_near, more_labels, ...))
  table.accuracy()["rank"][10]                                   # a fraction

A query of a class that the memory lacks counts as wrong, and is counted. A
query whose own label is UNLABELED can be neither right nor wrong: it is left
out of the total, and counted. Of a query with several labels (`label_sets`, as
of Beyer et al., "Are we done with ImageNet?", 2020, section 3) each is right;
one with none is left out of the total, and counted.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting import vote_input
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import Setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyTable:
  """How many queries were right, for V settings of a vote and K values of k.

  Attributes:
    names: the names of the settings.
    ks: the numbers of neighbors that voted.
    correct: int64 counts, [V, K].
    total: labelled queries.
    num_unknown: of these, how many are of a class that the memory lacks.
    num_unlabeled: queries without a label, which the total leaves out.
  """

  names: tuple[str, ...]
  ks: tuple[int, ...]
  correct: Int64[np.ndarray, "V K"]
  total: int
  num_unknown: int
  num_unlabeled: int

  def merge(self, other: "AccuracyTable") -> "AccuracyTable":
    """The counts of both, which must be of the same settings and ks."""
    if (self.names, self.ks) != (other.names, other.ks):
      raise ValueError(
        f"Counts of {self.names} at ks {self.ks} cannot be merged with counts"
        f" of {other.names} at ks {other.ks}."
      )
    return dataclasses.replace(
      self,
      correct=self.correct + other.correct,
      total=self.total + other.total,
      num_unknown=self.num_unknown + other.num_unknown,
      num_unlabeled=self.num_unlabeled + other.num_unlabeled,
    )

  def accuracy(self) -> dict[str, dict[int, float]]:
    """The fraction right, by name and k.

    Raises:
      ValueError: there is no labelled query.
    """
    if not self.total:
      raise ValueError("No query has a label: there is no accuracy to report.")
    return {
      name: {k: int(n) / self.total for k, n in zip(self.ks, row, strict=True)}
      for name, row in zip(self.names, self.correct, strict=True)
    }


def accuracy_table(
  near: Neighbors,
  labels: Int[Array, "Q"],
  *,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
  known: Bool[Array, "C"] | None = None,
  factors: Float[Array, "Q k"] | None = None,
) -> AccuracyTable:
  """The counts of every setting at every k, from one pass over neighbors.

  Args:
    near: the neighbors of the queries.
    labels: the queries' true classes; UNLABELED, or num_classes and above for
      classes that the memory has no name for.
    settings: what to vote by, under names for the table: the published voters
      (`weighting.published_settings`), or one voter at many values.
    ks: as in `vote`.
    num_classes: C, the memory's number of classes.
    known: which classes the memory has rows of; all, if absent.
    factors: as in `vote`.

  Raises:
    ValueError: as for `vote`, or a query label below UNLABELED.
  """
  labels = _check_queries(labels, len(near))
  predictions = predict(
    near,
    tuple(settings.values()),
    ks=ks,
    num_classes=num_classes,
    factors=factors,
  )
  labeled = labels != UNLABELED
  return AccuracyTable(
    names=tuple(settings),
    ks=vote_input.ks(ks, near.k),
    correct=count_correct(predictions, labels),
    total=int(labeled.sum()),
    num_unknown=_num_unknown(labels[labeled], num_classes, known),
    num_unlabeled=int((~labeled).sum()),
  )


def count_correct(
  predictions: Int[Array, "*rest Q"], labels: Int[Array, "Q"]
) -> Int64[np.ndarray, "*rest"]:
  """How many labelled queries have their own class predicted."""
  labels = np.asarray(labels)
  # No prediction equals -2, so that no UNLABELED query is ever right.
  labels = np.where(labels == UNLABELED, UNLABELED - 1, labels)
  labels = labels.reshape((1,) * (predictions.ndim - 1) + labels.shape)
  return np.asarray(np.sum(np.asarray(predictions) == labels, axis=-1))


def accuracy(
  predictions: Int[Array, "Q"], labels: Int[Array, "Q"]
) -> float | None:
  """The fraction of labelled queries that are right; None without any."""
  total = int(np.sum(np.asarray(labels) != UNLABELED))
  return int(count_correct(predictions, labels)) / total if total else None


def count_per_class(
  predictions: Int[Array, "Q"], labels: Int[Array, "Q"], *, num_classes: int
) -> tuple[Int64[np.ndarray, "C"], Int64[np.ndarray, "C"]]:
  """Per class, how many of its queries are right, and how many it has.

  The per-class accuracy is their quotient. Queries that are UNLABELED or of a
  class from num_classes up belong to no class here.
  """
  predictions, labels = np.asarray(predictions), np.asarray(labels)
  inside = (labels >= 0) & (labels < num_classes)
  right = inside & (predictions == labels)
  return (
    np.bincount(labels[right], minlength=num_classes),
    np.bincount(labels[inside], minlength=num_classes),
  )


def confusion_matrix(
  predictions: Int[Array, "Q"], labels: Int[Array, "Q"], *, num_classes: int
) -> Int64[np.ndarray, "C C"]:
  """How many queries of each class (row) are taken for each class (column).

  Left out are queries that belong to no class (see `count_per_class`) and
  those without a prediction: a row sums to the class's answered queries.
  """
  predictions, labels = np.asarray(predictions), np.asarray(labels)
  inside = (labels >= 0) & (labels < num_classes) & (predictions >= 0)
  cells = labels[inside].astype(np.int64) * num_classes + predictions[inside]
  counts = np.bincount(cells, minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes)


def _num_unknown(labels, num_classes, known):
  """How many of the labels are of a class that the memory lacks."""
  unnamed = labels >= num_classes
  if known is None:
    return int(unnamed.sum())
  return int(unnamed.sum() + (~np.asarray(known)[labels[~unnamed]]).sum())


def _check_queries(labels: Array, num_queries: int) -> np.ndarray:
  """Query labels on the host, one for each query, none below UNLABELED."""
  labels = np.asarray(labels)
  if len(labels) != num_queries:
    raise ValueError(f"{len(labels)} labels for {num_queries} queries.")
  if (labels < UNLABELED).any():
    query = int(np.argmax(labels < UNLABELED))
    raise ValueError(
      f"Query {query} has label {labels[query]}; labels start at 0 (or are"
      f" {UNLABELED} for unknown)."
    )
  return labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSets:
  """The right labels of Q queries; build one with `label_sets`.

  Attributes:
    queries: the query of each label, ascending, [M].
    labels: the labels, [M].
    num_queries: Q.
  """

  queries: Int64[np.ndarray, "M"]
  labels: Int64[np.ndarray, "M"]
  num_queries: int

  @property
  def total(self) -> int:
    """Queries that have a label."""
    return len(np.unique(self.queries))

  @property
  def num_empty(self) -> int:
    """Queries without one, which no total holds."""
    return self.num_queries - self.total


def label_sets(sets: Sequence[Sequence[int]]) -> LabelSets:
  """LabelSets of these labels, one sequence for each query."""
  sizes = [len(labels) for labels in sets]
  flat = np.array([label for labels in sets for label in labels], np.int64)
  if (flat < 0).any():
    raise ValueError(f"Labels start at 0; there is {flat.min()}.")
  return LabelSets(
    queries=np.repeat(np.arange(len(sets)), sizes),
    labels=flat,
    num_queries=len(sets),
  )


def in_sets(
  predictions: Int[Array, "*rest Q"], sets: LabelSets
) -> Bool[np.ndarray, "*rest Q"]:
  """Which predictions are among their query's labels.

  Raises:
    ValueError: not one prediction for each query.
  """
  predictions = np.asarray(predictions, np.int64)
  if predictions.shape[-1] != sets.num_queries:
    raise ValueError(
      f"{predictions.shape[-1]} predictions for {sets.num_queries} queries."
    )
  most = 1 + max(sets.labels.max(initial=0), predictions.max(initial=0))
  right = np.sort(sets.queries * most + sets.labels)
  asked = np.arange(sets.num_queries) * most
  codes = predictions + asked.reshape((1,) * (predictions.ndim - 1) + (-1,))
  found = np.isin(codes, right)
  return found & (predictions >= 0)  # -1 would be the last of the one before.
