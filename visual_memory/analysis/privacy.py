"""How many rows of the memory can be told from its answers.

  curve = privacy_curve(near, labels, row_ids, settings=settings,
                        ks=(1, 10, 20), num_classes=10)
  curve[0].num_non_private, curve[0].accuracy

A row is private if removing it changes no answer to any query: nobody who sees
the answers alone can tell whether it was there. The other rows are counted
exactly, for any voter and k, from one retrieval of max(ks) + 1 neighbors.

Reference: Rodriguez-Munoz et al., "Separating knowledge and perception with
procedural data", ICML 2025, section 6 and figure 14 (k = 20, softmax at
temperature 0.07). The published percentages hold only the rows whose removal
would turn a wrong answer right; `harmful` is that number here.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from visual_memory.analysis.influence import removal_effects
from visual_memory.types import Array, Neighbors
from visual_memory.voting import vote_input
from visual_memory.voting.weighting import Setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Privacy:
  """How private the rows are under one vote; fractions are of all rows.

  Attributes:
    name: of the setting.
    k: neighbors that voted.
    num_rows: N.
    num_non_private: rows whose removal changes at least one answer.
    num_helpful: rows whose removal makes a right answer wrong.
    num_harmful: rows whose removal makes a wrong answer right.
    num_swaying: rows whose removal changes an answer otherwise.
    accuracy: of the labelled queries, a fraction.
  """

  name: str
  k: int
  num_rows: int
  num_non_private: int
  num_helpful: int
  num_harmful: int
  num_swaying: int
  accuracy: float | None

  @property
  def non_private(self) -> float:
    """The fraction of rows that are not private."""
    return self.num_non_private / self.num_rows


def privacy_curve(
  near: Neighbors,
  labels: Int[Array, "Q"],
  row_ids: np.ndarray,
  *,
  settings: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
) -> list[Privacy]:
  """Privacy beside accuracy, for every setting at every k.

  Args:
    near: at least max(ks) + 1 neighbors of each query.
    labels: the queries' classes, UNLABELED where unknown, [Q].
    row_ids: the memory's ids, [N].
    settings: how the neighbors vote, by name.
    ks: how many of them.
    num_classes: C; every neighbor's label must be below it.

  Raises:
    ValueError: as for `removal_effects`, or an empty memory.
  """
  if not len(row_ids):
    raise ValueError("The memory is empty: there is no row to keep private.")
  found = []
  for name, setting in settings.items():
    for k in vote_input.ks(ks, near.k):
      effects = removal_effects(
        near, labels, row_ids, setting, k=k, num_classes=num_classes
      )
      found.append(
        Privacy(
          name=name,
          k=k,
          num_rows=len(row_ids),
          num_non_private=effects.num_non_private,
          num_helpful=effects.num_helpful,
          num_harmful=effects.num_harmful,
          num_swaying=int((effects.sways > 0).sum()),
          accuracy=effects.accuracy,
        )
      )
  return found
