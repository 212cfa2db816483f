"""Exact tests of what people chose.

  proportion(56, 100, chance=0.25)         # 95 % Clopper-Pearson, p-value
  compare_conditions(responses)            # do neighbors help?
  preference(responses, accuracy=0.611)    # is the model's label preferred?

All p-values are exact. Responses count as independent in the intervals and in
Fisher's test; a person's responses are not quite, nor are those to one image.
The paired test takes the image as the unit.

Reference: Geirhos et al., ICML 2025, appendices L (56 % of predictions guessed
without neighbors, 83 % with) and N (39.3 +- 1.25 % prefer the model's label:
61.1 % accuracy become 76.4 %).
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool
from scipy import stats

from visual_memory.analysis import intervals
from visual_memory.analysis.human_study.responses import Responses
from visual_memory.analysis.intervals import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proportion:
  """How many of how many, with what is compatible with it.

  Attributes:
    successes: how many.
    total: of how many.
    fraction: the proportion with its exact interval.
    p_value: two-sided, exact, of chance being the true proportion.
  """

  successes: int
  total: int
  fraction: Interval
  p_value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """Responses without (A) and with (B) neighbors.

  Attributes:
    without: the correct ones in condition A.
    with_neighbors: the correct ones in condition B.
    fisher_p: two-sided p-value of Fisher's exact test: every response counts.
    more: trials of which a larger share of people was correct in B.
    fewer: trials of which a smaller share was.
    paired_p: two-sided p-value of the exact sign test over these trials:
      McNemar's exact test where each was answered once in each condition.
  """

  without: Proportion
  with_neighbors: Proportion
  fisher_p: float
  more: int
  fewer: int
  paired_p: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preference:
  """How often the model's label is preferred to the data set's.

  Attributes:
    chosen: over all responses, against a chance of one half.
    observer_mean: mean over participants of the preferred share.
    observer_error: standard error of that mean; None of one participant.
    corrected_accuracy: accuracy once the preferred share of the model's errors
      counts as right.
  """

  chosen: Proportion
  observer_mean: float
  observer_error: float | None
  corrected_accuracy: float


def proportion(successes: int, total: int, *, chance: float) -> Proportion:
  """A proportion with its exact interval and test.

  Raises:
    ValueError: no trials, or more successes than trials.
  """
  fraction = intervals.exact_share(successes, total)
  return Proportion(
    successes=int(successes),
    total=int(total),
    fraction=fraction,
    p_value=float(stats.binomtest(int(successes), int(total), chance).pvalue),
  )


def compare_conditions(found: Responses, *, num_choices: int) -> Comparison:
  """Whether people guess better when they see the neighbors.

  Args:
    found: responses in both conditions.
    num_choices: how many choices there were: chance is one of them.

  Raises:
    ValueError: there are responses in one condition only.
  """
  shown = found.with_neighbors
  if shown.all() or not shown.any():
    raise ValueError(
      f"All {len(found)} responses are in condition {'AB'[int(shown.all())]}:"
      " there is nothing to compare them with."
    )
  counts = [
    (int(found.correct[part].sum()), int(part.sum()))
    for part in (~shown, shown)
  ]
  table = [[right, total - right] for right, total in counts]
  more, fewer = _differing_trials(found, shown)
  chance = 1 / num_choices
  return Comparison(
    without=proportion(*counts[0], chance=chance),
    with_neighbors=proportion(*counts[1], chance=chance),
    fisher_p=float(stats.fisher_exact(table).pvalue),
    more=more,
    fewer=fewer,
    paired_p=intervals.mcnemar(more, fewer),
  )


def preference(found: Responses, *, accuracy: float) -> Preference:
  """How often the model's label is preferred, and what that makes of accuracy.

  Args:
    found: responses to `trials.preference_trials`.
    accuracy: of the model by the data set's labels, in [0, 1].
  """
  chosen = proportion(int(found.correct.sum()), len(found), chance=0.5)
  shares = np.array(
    [
      found.correct[found.participants == participant].mean()
      for participant in np.unique(found.participants)
    ]
  )
  error = None
  if len(shares) > 1:
    error = float(shares.std(ddof=1) / np.sqrt(len(shares)))
  return Preference(
    chosen=chosen,
    observer_mean=float(shares.mean()),
    observer_error=error,
    corrected_accuracy=accuracy + chosen.fraction.mean * (1 - accuracy),
  )


def _differing_trials(
  found: Responses, shown: Bool[np.ndarray, "R"]
) -> tuple[int, int]:
  """Trials with a larger and a smaller share correct in condition B."""
  num_trials = int(found.trials.max()) + 1
  count = lambda part: np.bincount(found.trials[part], minlength=num_trials)
  asked_a, asked_b = count(~shown), count(shown)
  right_a, right_b = count(~shown & found.correct), count(shown & found.correct)
  # Shares compared as integers: no rounding makes a tie.
  difference = right_b * asked_a - right_a * asked_b
  both = (asked_a > 0) & (asked_b > 0)
  return int((both & (difference > 0)).sum()), int(
    (both & (difference < 0)).sum()
  )


def as_values(found: Comparison | Preference) -> dict[str, Any]:
  """The result as nested plain values."""
  return dataclasses.asdict(found)
