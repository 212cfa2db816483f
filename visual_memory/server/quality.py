"""How good a memory is: each row asked of all the others.

accuracy(memory, k=10, setting=setting("softmax"))   # {"accuracy": 0.93, ...}
"""

from typing import Any

import numpy as np

from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.types import UNLABELED
from visual_memory.voting import vote, weighting
from visual_memory.voting.weighting import Setting

_MOST_ROWS = 2000
_SAMPLED, _FEWEST, _FAR = 500, 10, 0.01
_MOST_DOUBTED = 20_000
_EQUAL = 0.9999
"""Embeddings of the same picture, saved twice, are this alike."""


def accuracy(
  memory: VisualMemory, *, k: int, setting: Setting
) -> dict[str, Any] | None:
  """Leave-one-out accuracy, of all rows or of evenly spread ones.

  Args:
    memory: what to judge.
    k: how many neighbors vote.
    setting: the voter.

  Returns:
    accuracy (a fraction), num_asked and num_rows; None if no row is labelled
    or there are fewer than two.
  """
  embedded = memory.embedded()
  labelled = np.flatnonzero(embedded.labels != UNLABELED)
  if len(memory) < 2 or not len(labelled):
    return None
  step = max(1, -(-len(labelled) // _MOST_ROWS))
  asked = embedded.take(labelled[::step])
  near = exact.search(
    asked.embeddings,
    memory,
    k=min(k, len(memory) - 1),
    exclude_self=asked.ids,
  )
  predicted = vote.predict(
    near, [setting], ks=(near.k,), num_classes=len(memory.class_names)
  )[0, 0]
  return {
    "accuracy": float(np.mean(predicted == asked.labels)),
    "num_asked": len(asked.ids),
    "num_rows": len(memory),
  }


def usual_similarity(memory: VisualMemory) -> float:
  """What nearly every row's similarity to its nearest other exceeds.

  Of up to 500 evenly spread rows, 1 in 100 is farther from all others; -1 for
  a memory of fewer than ten. A picture below it has nothing near.
  """
  if len(memory) < _FEWEST:
    return -1.0
  embedded = memory.embedded()
  asked = embedded.take(np.arange(0, len(memory), -(-len(memory) // _SAMPLED)))
  near = exact.search(asked.embeddings, memory, k=1, exclude_self=asked.ids)
  return float(np.quantile(near.similarities, _FAR))


def doubtful(
  memory: VisualMemory, *, k: int, setting: Setting, most: int
) -> dict[str, Any]:
  """Rows to look at, of each kind the worst first.

  Args:
    memory: what to judge.
    k: how many neighbors vote.
    setting: the voter.
    most: ids of a kind.

  Returns:
    suspects: rows whose neighbors vote for another class, the clearest votes
    first. duplicates: rows that another row equals, each beside the other.
    outliers: rows with nothing near, the farthest first. num_asked of
    num_rows: how many were looked at.
  """
  embedded = memory.embedded()
  step = max(1, -(-len(memory) // _MOST_DOUBTED))
  asked = embedded.take(np.arange(0, len(memory), step))
  found = {"num_asked": len(asked.ids), "num_rows": len(memory)}
  if len(memory) < 2:
    return {"suspects": [], "duplicates": [], "outliers": [], **found}
  near = exact.search(
    asked.embeddings, memory, k=min(k, len(memory) - 1), exclude_self=asked.ids
  )
  count = len(memory.class_names)
  weights = weighting.weights(near.similarities, setting)
  scores = vote.class_scores(
    near.labels, weights, ks=(near.k,), num_classes=count
  )[0]
  sums = np.maximum(scores.sum(axis=1), 1e-30)
  against = scores.max(axis=1, initial=0) / sums
  predicted = scores.argmax(axis=1) if count else np.zeros(len(asked.ids), int)
  suspects = np.flatnonzero(
    (asked.labels != UNLABELED) & (asked.labels != predicted) & (against > 0)
  )
  suspects = suspects[np.argsort(-against[suspects], kind="stable")]
  nearest = near.similarities[:, 0]
  pairs: dict[str, None] = {}
  equal = np.flatnonzero(nearest >= _EQUAL)
  for row in equal[np.argsort(-nearest[equal], kind="stable")].tolist():
    pairs[str(asked.ids[row])] = None
    pairs[str(near.ids[row, 0])] = None
  outliers = np.argsort(nearest, kind="stable")[: min(most, len(nearest) // 20)]
  return {
    "suspects": asked.ids[suspects[:most]].tolist(),
    "duplicates": list(pairs)[:most],
    "outliers": asked.ids[outliers].tolist(),
    **found,
  }
