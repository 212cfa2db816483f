"""The published classifier of bags of SIFT words, a support vector machine."""

import numpy as np
from jaxtyping import Float, Int

from visual_memory.voting import metrics


def svm_accuracy(
  rows: Float[np.ndarray, "N D"],
  labels: Int[np.ndarray, "N"],
  queries: Float[np.ndarray, "Q D"],
  asked: Int[np.ndarray, "Q"],
) -> float | None:
  """How often scikit-learn's SVC, as it is by default, is right.

  Published on the counts as they are, without the pictures in which there is
  nothing: `with_features`.

  Args:
    rows: to learn from.
    labels: of the rows.
    queries: to answer.
    asked: their labels, of the same classes.

  Returns:
    None where there is nothing to answer, or one class alone to learn.
  """
  from sklearn.svm import SVC

  if len(np.unique(labels)) < 2 or not len(queries):
    return None
  return metrics.accuracy(SVC().fit(rows, labels).predict(queries), asked)


def with_features(
  counts: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "M D"], Int[np.ndarray, "M"]]:
  """The pictures in which something is counted, and their labels."""
  found = counts.any(axis=1)
  return counts[found], labels[found]
