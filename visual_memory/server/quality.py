"""How good a memory is: each row asked of all the others.

accuracy(memory, k=10, setting=setting("softmax"))   # {"accuracy": 0.93, ...}
"""

from typing import Any

import numpy as np

from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.types import UNLABELED
from visual_memory.voting import vote
from visual_memory.voting.weighting import Setting

_MOST_ROWS = 2000


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
