"""Bags of SIFT words by the vote and by the published classifier."""

from visual_memory.types import EmbeddedSet
from visual_memory.voting import metrics


def svm_accuracy(rows: EmbeddedSet, queries: EmbeddedSet) -> float:
  """The published classifier: scikit-learn's SVC as it is by default.

  On rows of unit length here; on raw counts there. Labels of both must mean
  the same classes.

  Raises:
    ValueError: class names that differ.
  """
  from sklearn.svm import SVC

  if rows.class_names != queries.class_names:
    raise ValueError("Rows and queries have different class names.")
  found = SVC().fit(rows.embeddings, rows.labels).predict(queries.embeddings)
  return metrics.accuracy(found, queries.labels)
