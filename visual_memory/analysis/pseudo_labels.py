"""Labels that a memory gives to rows without any, and how far it agrees.

  labels, agreement = pseudo_labels(near, setting, k=10, num_classes=10)
  kept = agreement >= 0.8

Reference: Geirhos et al., ICML 2025, section 3.3, where another model's labels
let a memory grow to billions of rows, and rows whose label has no
correspondence among the classes are dropped.
"""

import numpy as np
from jaxtyping import Float, Int32

from visual_memory.types import Neighbors
from visual_memory.voting import weighting
from visual_memory.voting.vote import predict


def pseudo_labels(
  near: Neighbors, setting: weighting.Setting, *, k: int, num_classes: int
) -> tuple[Int32[np.ndarray, "P"], Float[np.ndarray, "P"]]:
  """The class that the neighbors vote for, and its share of their weights.

  Args:
    near: of the rows without labels, [P, at least k].
    setting: the voter.
    k: neighbors that vote.
    num_classes: C.

  Returns:
    Classes, and agreements from 0 to 1; where nobody has a say, UNLABELED and
    an agreement of 0.
  """
  labels = predict(near, [setting], ks=(k,), num_classes=num_classes)[0, 0]
  weights = weighting.weights(near.similarities[:, :k], setting)
  agreeing = np.asarray(near.labels)[:, :k] == labels[:, None]
  total = weights.sum(axis=1)
  shares = (weights * agreeing).sum(axis=1) / np.where(total == 0, 1, total)
  return labels, np.where(labels < 0, 0.0, shares)
