"""How queries were answered, as plain values: the input of an evaluation.

  results = summarize(
    {"rank": predictions}, labels, ks=(1, 10), class_names=names,
    voter="rank", k=10, chosen_by="tuning split",
    fingerprint=neighbors_fingerprint(near),
  )

An accuracy is the fraction of the labeled queries that are right. Queries
whose class the memory lacks count as wrong; queries of unknown label do not
count. Both are reported.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from visual_memory.types import UNLABELED, Array
from visual_memory.voting import metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
  """How one set of queries was answered; make one with `summarize`.

  Attributes:
    accuracy: the fraction right, by voter, then by k.
    neighbors_fingerprint: `neighbor_files.neighbors_fingerprint`.
    voter: the voter of the chosen setting.
    k: the number of neighbors of the chosen setting.
    chosen_by: what chose the setting, such as "tuning split" or "config".
    labels: int32 true classes, UNLABELED where unknown, [Q].
    predictions: int32 classes predicted at the chosen setting, [Q].
    class_names: one name for each class.
    absent_classes: classes of the queries that the memory has no row of.
  """

  accuracy: Mapping[str, Mapping[int, float]]
  neighbors_fingerprint: str
  voter: str
  k: int
  chosen_by: str
  labels: Int[np.ndarray, "Q"]
  predictions: Int[np.ndarray, "Q"]
  class_names: tuple[str, ...]
  absent_classes: tuple[int, ...] = ()

  @property
  def chosen_accuracy(self) -> float:
    """The accuracy of the chosen setting: the number to quote."""
    return self.accuracy[self.voter][self.k]

  @property
  def num_unlabeled(self) -> int:
    """How many queries have no label, and so count for nothing."""
    return int(np.sum(self.labels == UNLABELED))

  @property
  def num_absent(self) -> int:
    """How many queries are of a class that the memory lacks."""
    return int(np.isin(self.labels, self.absent_classes).sum())

  def counts(self) -> dict[str, int]:
    """How many queries there are, and how many are out of the ordinary."""
    return {
      "queries": len(self.labels),
      "unlabeled_queries": self.num_unlabeled,
      "absent_class_queries": self.num_absent,
    }

  def per_class(self) -> tuple[np.ndarray, np.ndarray]:
    """How many queries of each class are right, and how many it has, [C]."""
    return metrics.count_per_class(
      self.predictions, self.labels, num_classes=len(self.class_names)
    )

  def confusion(self) -> np.ndarray:
    """How many queries of each class (row) were given each, [C, C]."""
    return metrics.confusion_matrix(
      self.predictions, self.labels, num_classes=len(self.class_names)
    )

  def best(self) -> tuple[str, int, float]:
    """The (voter, k, accuracy) that is best on these very queries.

    Optimistic, being chosen on the queries that it is scored on. The first
    voter and the smallest k win ties.
    """
    return max(
      (
        (voter, k, value)
        for voter, values in self.accuracy.items()
        for k, value in sorted(values.items())
      ),
      key=lambda cell: cell[2],
    )


def summarize(
  predictions: Mapping[str, Int[Array, "K Q"]],
  labels: Int[Array, "Q"],
  *,
  ks: Sequence[int],
  class_names: Sequence[str],
  voter: str,
  k: int,
  chosen_by: str,
  fingerprint: str,
  absent_classes: Sequence[int] = (),
) -> Results:
  """The results of one query set.

  Args:
    predictions: for each voter, the class predicted at each k, [K, Q].
    labels: true classes, UNLABELED where unknown, [Q].
    ks: the k of each row of the predictions.
    class_names: one name for each class.
    voter: the voter of the chosen setting, whose answers are shown in detail.
    k: the k of the chosen setting.
    chosen_by: what chose it: never these queries, unless it says so.
    fingerprint: the `neighbors_fingerprint` of the retrieval.
    absent_classes: classes of the queries that the memory has no row of.

  Raises:
    ValueError: shapes that do not fit, no labeled query, or a chosen setting
      that is not among the predictions.
  """
  ks = tuple(int(value) for value in ks)
  labels = np.asarray(labels)
  predictions = {name: np.asarray(value) for name, value in predictions.items()}
  _check(predictions, labels, ks=ks, num_classes=len(class_names))
  if voter not in predictions or k not in ks:
    raise ValueError(
      f"The chosen setting, {voter!r} at k={k}, is not among the voters"
      f" {sorted(predictions)} at ks {list(ks)}."
    )
  accuracy = {
    name: {k: metrics.accuracy(value[row], labels) for row, k in enumerate(ks)}
    for name, value in predictions.items()
  }
  return Results(
    accuracy=accuracy,
    neighbors_fingerprint=fingerprint,
    voter=voter,
    k=k,
    chosen_by=chosen_by,
    labels=labels,
    predictions=predictions[voter][ks.index(k)],
    class_names=tuple(class_names),
    absent_classes=tuple(int(value) for value in absent_classes),
  )


def most_confused(
  results: Results, *, limit: int
) -> list[tuple[str, str, int]]:
  """The commonest errors: (class, class it was taken for, how many queries).

  Commonest first, then in order of class. Needs no C x C matrix.
  """
  labels, predictions = results.labels, results.predictions
  wrong = (labels != predictions) & (labels >= 0) & (predictions >= 0)
  cells = labels.astype(np.int64) * len(results.class_names) + predictions
  pairs, counts = np.unique(cells[wrong], return_counts=True)
  order = np.argsort(-counts, kind="stable")[:limit]
  names, num_classes = results.class_names, len(results.class_names)
  return [
    (
      names[pairs[i] // num_classes],
      names[pairs[i] % num_classes],
      int(counts[i]),
    )
    for i in order
  ]


def _check(
  predictions: Mapping[str, np.ndarray],
  labels: np.ndarray,
  *,
  ks: tuple[int, ...],
  num_classes: int,
) -> None:
  """Raises ValueError unless shapes fit and classes have names."""
  shape = (len(ks), len(labels))
  for name, value in predictions.items():
    if value.shape != shape:
      raise ValueError(
        f"Voter {name!r} has predictions of shape {value.shape}; {len(ks)} ks"
        f" and {len(labels)} queries need {shape}."
      )
    if value.size and not UNLABELED <= value.min() <= value.max() < num_classes:
      raise ValueError(
        f"Voter {name!r} predicts classes {value.min()} to {value.max()}, but"
        f" there are {num_classes} class names."
      )
  if not np.any(labels != UNLABELED):
    raise ValueError(
      "No query has a label: without one there is no accuracy to report."
    )
  if not UNLABELED <= labels.min() <= labels.max() < num_classes:
    raise ValueError(
      f"The labels go from {labels.min()} to {labels.max()}, but there are"
      f" {num_classes} class names."
    )
