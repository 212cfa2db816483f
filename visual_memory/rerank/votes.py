"""Votes and how clearly they were won, for deciding where to look again."""

import numpy as np
from jaxtyping import Float, Int32

from visual_memory.rerank.rerank import margins
from visual_memory.types import Neighbors
from visual_memory.voting import vote, weighting


def split_votes(
  near: Neighbors, *, voter: str, k: int, num_classes: int
) -> tuple[Int32[np.ndarray, "Q"], Float[np.ndarray, "Q"]]:
  """The class that k neighbors vote for, and its lead over the next.

  Args:
    near: at least k neighbors of each query.
    voter: as in `vote.vote`, with its published hyper-parameters.
    k: how many vote.
    num_classes: C.

  Returns:
    Predictions, and margins in [0, 1], shares of the whole vote.
  """
  setting = weighting.setting(voter)
  options = dict(ks=(k,), num_classes=num_classes)
  predictions = vote.predict(near, [setting], **options)[0, 0]
  scores = vote.class_scores(
    near.labels, weighting.weights(near.similarities, setting), **options
  )[0]
  shares = scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-30)
  return predictions, margins(shares)
