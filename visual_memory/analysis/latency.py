"""How long calls take, as the people who wait for them see it.

timed = time_calls(lambda: search(...), repeats=30, per_call=16)
timed.median_s, timed.p95_s, timed.per_second
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency:
  """Seconds of repeated calls, the first ones (compilation) left out.

  Attributes:
    median_s: of a call.
    p95_s: what 95 % of the calls stay below.
    per_second: things done per second, by the median.
    repeats: calls timed.
  """

  median_s: float
  p95_s: float
  per_second: float
  repeats: int


def time_calls(
  call: Callable[[], object],
  *,
  repeats: int,
  per_call: int,
  warm_up: int = 2,
) -> Latency:
  """Times a call that returns once its work is done.

  Args:
    call: what to time; its result is thrown away.
    repeats: calls to time.
    per_call: things that one call does (queries of a batch).
    warm_up: calls before the first one timed.
  """
  for _ in range(warm_up):
    call()
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    call()
    seconds.append(time.perf_counter() - start)
  median = float(np.median(seconds))
  return Latency(
    median_s=median,
    p95_s=float(np.quantile(seconds, 0.95)),
    per_second=per_call / median,
    repeats=repeats,
  )


@dataclasses.dataclass(frozen=True)
class Stopwatch:
  """Seconds of stages that come again and again, added up by name.

  Attributes:
    seconds: so far.
  """

  seconds: dict[str, float] = dataclasses.field(default_factory=dict)

  @contextlib.contextmanager
  def __call__(self, stage: str) -> Iterator[None]:
    """Adds what happens inside to a stage."""
    start = time.perf_counter()
    try:
      yield
    finally:
      spent = time.perf_counter() - start
      self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
