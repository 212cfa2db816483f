"""What a run found out, as plain values: the input of every report.

  results = summarize(
    {"rank": predictions}, labels, ks=(1, 10), class_names=names,
    voter="rank", k=10, chosen_by="tuning split",
    fingerprint=neighbors_fingerprint(near),
  )
  report = Report(title="digits", config=config, results=results)

An accuracy is the fraction of the labeled queries that are right. Queries
whose class the memory lacks count as wrong; queries of unknown label do not
count. Both are reported.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from visual_memory.reports.gallery import GalleryItem
from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting import metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
  """How one set of queries was answered; make one with `summarize`.

  Attributes:
    accuracy: the fraction right, by voter, then by k.
    neighbors_fingerprint: see `neighbors_fingerprint`.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit:
  """One change of the memory, and what it did to the accuracy.

  Attributes:
    name: what was done, such as "add the classes 8 and 9".
    rows_before: rows of the memory before it.
    rows_after: rows of the memory after it.
    before: accuracy before, a fraction, by group of queries.
    after: accuracy after, of the same groups.
    seconds: how long the edit took; None if nobody looked.
  """

  name: str
  rows_before: int
  rows_after: int
  before: Mapping[str, float]
  after: Mapping[str, float]
  seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skipped:
  """An image that could not be used: its name, and why."""

  name: str
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """Everything that report.json and report.html tell.

  Attributes:
    title: one line.
    config: the run's config, plain nested values.
    results: the main query set.
    query_sets: further query sets, by name.
    timings: seconds, by the name of the stage.
    counts: whatever was counted, by name; "memory_rows" above all.
    skipped: the images left out.
    edits: the edits made, in order.
    gallery: explained queries, for the page.
    env: what `Workdir.write_env` returned, for the page.
  """

  title: str
  config: Mapping[str, Any]
  results: Results
  query_sets: Mapping[str, Results] = dataclasses.field(default_factory=dict)
  timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  skipped: Sequence[Skipped] = ()
  edits: Sequence[Edit] = ()
  gallery: Sequence[GalleryItem] = ()
  env: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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
  known = labels != UNLABELED
  accuracy = {
    name: {
      k: float(np.mean(value[row, known] == labels[known]))
      for row, k in enumerate(ks)
    }
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
