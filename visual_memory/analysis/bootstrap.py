"""How far a mean could have come out otherwise: percentile bootstrap.

  interval = bootstrap_mean(right, seed=0)          # of an accuracy
  interval = bootstrap_mean(right - other, seed=0)  # paired: of a difference

The mean of resampled queries depends only on how often each distinct value
was drawn, so that one multinomial draw per resample is the exact bootstrap,
whatever the number of queries.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Shaped

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

  def __str__(self) -> str:
    """In percent: 44.8 [43.9, 45.8]."""
    low, high = 100 * self.low, 100 * self.high
    return f"{100 * self.mean:.2f} [{low:.2f}, {high:.2f}]"


def bootstrap_mean(
  values: Shaped[np.ndarray, "Q"],
  *,
  seed: int,
  coverage: float = 0.95,
  resamples: int = RESAMPLES,
) -> Interval:
  """The mean of the values with its percentile bootstrap interval.

  Args:
    values: one per query, with few distinct values (right or wrong, or the
      difference of two such), finite.
    seed: of the resampling.
    coverage: in (0, 1).
    resamples: how many.

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
  drawn = rng.multinomial(len(values), counts / len(values), size=resamples)
  return interval_of(
    float(values.mean()), drawn @ distinct / len(values), coverage=coverage
  )


def interval_of(
  mean: float, estimates: Float[np.ndarray, "R"], *, coverage: float
) -> Interval:
  """The percentile interval of resampled estimates."""
  tail = (1 - coverage) / 2
  low, high = np.quantile(estimates, [tail, 1 - tail])
  return Interval(
    mean=mean, low=float(low), high=float(high), coverage=coverage
  )
