"""How far an estimate could have come out otherwise, and paired comparisons.

  interval = bootstrap_mean(right, seed=0)          # of an accuracy
  interval = exact_share(56, 100)                   # of a count of successes
  found = paired(right, other, seed=0)              # on the same queries
  found.interval, found.p_value                     # exact McNemar
  line = fit_line(x, y)                             # by least squares

In every report.json an interval is `vars(interval)`: {mean, low, high,
coverage}, fractions.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

COVERAGE = 0.95
"""Of every interval that a report shows."""

RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
  """An estimate with the interval that holds it.

  Attributes:
    mean: the estimate, over all values.
    low: lower end of the interval.
    high: upper end.
    coverage: of the interval, such as 0.95.
  """

  mean: float
  low: float
  high: float
  coverage: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
  """Two answers to the same queries.

  Attributes:
    interval: of our mean less theirs, the queries resampled together.
    p_value: two-sided, of the exact McNemar test (over seeds: of the t test).
    better: queries (or seeds) on which ours is larger.
    worse: on which it is smaller.
  """

  interval: Interval
  p_value: float
  better: int
  worse: int

  def values(self) -> dict[str, Any]:
    """As in report.json: the interval, with the test beside it."""
    return vars(self.interval) | {
      "p_value": self.p_value,
      "better": self.better,
      "worse": self.worse,
    }


def bootstrap_mean(values: Shaped[np.ndarray, "Q"], *, seed: int) -> Interval:
  """The mean of the values with its percentile bootstrap interval.

  The mean of resampled queries depends only on how often each distinct value
  was drawn, so that one multinomial draw per resample is the exact bootstrap,
  whatever the number of queries.

  Args:
    values: one per query, with few distinct values (right or wrong, or the
      difference of two such), finite.
    seed: of the resampling.

  Raises:
    ValueError: no values, or values that are not finite.
  """
  values = np.asarray(values, np.float64)
  if not len(values) or not np.isfinite(values).all():
    raise ValueError(
      f"A bootstrap needs finite values; got {len(values)} of which"
      f" {int(np.isfinite(values).sum())} are."
    )
  distinct, counts = np.unique(values, return_counts=True)
  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(len(values), counts / len(values), size=RESAMPLES)
  tail = (1 - COVERAGE) / 2
  low, high = np.quantile(drawn @ distinct / len(values), [tail, 1 - tail])
  return Interval(
    mean=float(values.mean()),
    low=float(low),
    high=float(high),
    coverage=COVERAGE,
  )


def exact_share(successes: int | float, total: int) -> Interval:
  """A share of successes with its exact (Clopper-Pearson) interval.

  Args:
    successes: how many; a tie may count as half a success.
    total: of how many, at least one.

  Raises:
    ValueError: no trials, or successes out of range.
  """
  from scipy import stats

  if not 0 <= successes <= total or total == 0:
    raise ValueError(f"{successes} of {total} is no proportion.")
  tail, failures = (1 - COVERAGE) / 2, total - successes
  low = stats.beta.ppf(tail, successes, failures + 1) if successes else 0.0
  high = stats.beta.ppf(1 - tail, successes + 1, failures) if failures else 1.0
  return Interval(
    mean=float(successes / total),
    low=float(low),
    high=float(high),
    coverage=COVERAGE,
  )


def mcnemar(better: int, worse: int) -> float:
  """McNemar's exact two-sided p-value of discordant pairs; 1 without any."""
  from scipy import stats

  if not better + worse:
    return 1.0
  return float(stats.binomtest(better, better + worse).pvalue)


def over_seeds(differences: Sequence[float]) -> Difference | None:
  """The mean of differences, one for each seed, with Student's t interval.

  None of fewer than two seeds: nothing says how far they scatter.
  """
  from scipy import stats

  values = np.asarray(differences, np.float64)
  if len(values) < 2:
    return None
  mean, error = float(values.mean()), float(stats.sem(values))
  reach = error * float(stats.t.ppf((1 + COVERAGE) / 2, len(values) - 1))
  if error:
    p_value = float(stats.ttest_1samp(values, 0).pvalue)
  else:
    p_value = 1.0 if mean == 0 else 0.0
  return Difference(
    interval=Interval(
      mean=mean, low=mean - reach, high=mean + reach, coverage=COVERAGE
    ),
    p_value=p_value,
    better=int((values > 0).sum()),
    worse=int((values < 0).sum()),
  )


def paired(
  ours: Shaped[np.ndarray, "Q"],
  theirs: Shaped[np.ndarray, "_"],
  *,
  seed: int,
) -> Difference:
  """Our answers against theirs, query by query.

  Args:
    ours: right or wrong (or points) of each query.
    theirs: the same of the same queries in the same order.
    seed: of the bootstrap.

  Raises:
    ValueError: other numbers of queries, or none.
  """
  ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
  if ours.shape != theirs.shape:
    raise ValueError(
      f"{len(ours)} and {len(theirs)} queries cannot be compared in pairs."
    )
  better, worse = int((ours > theirs).sum()), int((ours < theirs).sum())
  return Difference(
    interval=bootstrap_mean(ours - theirs, seed=seed),
    p_value=mcnemar(better, worse),
    better=better,
    worse=worse,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """y = slope * x + intercept.

  Attributes:
    slope: change of y per x.
    intercept: y at x = 0.
    slope_error: standard error of the slope; None below three points.
    intercept_error: standard error of the intercept (likewise).
    r_squared: share of the variance of y that the line explains.
    num_points: points fitted.
    mean_x: of the points; with spread_x, what `predict_error` needs.
    spread_x: sum of squared deviations of x.
  """

  slope: float
  intercept: float
  slope_error: float | None
  intercept_error: float | None
  r_squared: float
  num_points: int
  mean_x: float
  spread_x: float

  def at(self, x: Shaped[np.ndarray, "*n"] | float) -> Any:
    """The line's y."""
    return self.slope * np.asarray(x) + self.intercept

  def predict_error(self, x: Shaped[np.ndarray, "*n"] | float) -> Any:
    """Standard error of one more observation at x; of three points or more."""
    away = (np.asarray(x) - self.mean_x) ** 2
    own = self.spread_x * (1 + 1 / self.num_points)
    return self.slope_error * np.sqrt(own + away)


def fit_line(x: Shaped[np.ndarray, "n"], y: Shaped[np.ndarray, "n"]) -> Line:
  """The least-squares line through the points.

  Raises:
    ValueError: fewer than two different x, or values that are not finite.
  """
  from scipy import stats

  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  if not (np.isfinite(x).all() and np.isfinite(y).all()):
    raise ValueError("A line needs finite points.")
  if len(np.unique(x)) < 2:
    raise ValueError(f"A line needs two different x; got {len(np.unique(x))}.")
  found = stats.linregress(x, y)
  enough, varies = len(x) > 2, bool(np.ptp(y))
  # Points that are all alike lie on their line: SciPy says NaN of its errors.
  error = lambda value: (float(value) if varies else 0.0) if enough else None
  return Line(
    slope=float(found.slope),
    intercept=float(found.intercept),
    slope_error=error(found.stderr),
    intercept_error=error(found.intercept_stderr),
    r_squared=float(found.rvalue) ** 2 if varies else 1.0,
    num_points=len(x),
    mean_x=float(x.mean()),
    spread_x=float(np.sum((x - x.mean()) ** 2)),
  )
