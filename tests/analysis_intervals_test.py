"""Paired comparisons, of queries and over seeds, against SciPy."""

import numpy as np
import pytest
from scipy import stats

from visual_memory.analysis import intervals


def test_paired_differences_count_and_test():
  ours = np.array([1, 1, 1, 0, 1, 1, 0])
  theirs = np.array([1, 0, 0, 1, 0, 1, 0])
  found = intervals.paired(ours, theirs, seed=0)
  assert (found.better, found.worse) == (3, 1)
  assert found.interval.mean == pytest.approx(2 / 7)
  assert found.interval.low < 2 / 7 < found.interval.high
  assert found.p_value == pytest.approx(stats.binomtest(3, 4).pvalue)
  assert set(found.values()) == {
    "mean", "low", "high", "coverage", "p_value", "better", "worse",
  }  # fmt: skip
  with pytest.raises(ValueError, match="7 and 6 queries"):
    intervals.paired(ours, theirs[1:], seed=0)


def test_over_seeds_is_students():
  values = [0.01, 0.03, -0.01, 0.02]
  found = intervals.over_seeds(values)
  theirs = stats.ttest_1samp(values, 0)
  assert found.p_value == pytest.approx(theirs.pvalue)
  span = theirs.confidence_interval(0.95)
  assert (found.interval.low, found.interval.high) == pytest.approx(tuple(span))
  assert intervals.over_seeds([0.1]) is None
  assert intervals.over_seeds([0.0, 0.0]).p_value == 1


def test_exact_shares_at_the_ends():
  none, every = intervals.exact_share(0, 5), intervals.exact_share(5, 5)
  assert none.low == 0 and every.high == 1
  assert none.high == pytest.approx(1 - 0.025 ** (1 / 5))
  with pytest.raises(ValueError, match="6 of 5"):
    intervals.exact_share(6, 5)
