"""Encoders side by side: who is right more often, and by more than chance?

  standings = rank_encoders(scored, baseline="shaders", seed=0)
  standings["kml"].gain                          # over the baseline, 95 %

All are scored on the same queries, so that differences are paired.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from visual_memory.analysis import choosing
from visual_memory.analysis.bootstrap import Interval
from visual_memory.analysis.two_afc import paired_p_value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
  """Where one encoder stands.

  Attributes:
    accuracy: on the queries, with its bootstrap interval.
    gain: accuracy less the baseline's, resampled together; None of itself.
    p_value: two-sided, of the exact McNemar test against the baseline, this
      pair alone; None of the baseline itself.
  """

  accuracy: Interval
  gain: Interval | None
  p_value: float | None


def rank_encoders(
  scored: Mapping[str, choosing.Scored], *, baseline: str, seed: int
) -> dict[str, Standing]:
  """Every encoder's standing, the most accurate first.

  Args:
    scored: by name, of one set of queries in one order.
    baseline: the name that all others are compared with.
    seed: of the bootstrap.

  Raises:
    ValueError: no such baseline, or another number of queries than its.
  """
  if baseline not in scored:
    raise ValueError(
      f"The baseline {baseline!r} is not among the encoders:"
      f" {', '.join(scored)}."
    )
  reference = scored[baseline]
  for name, one in scored.items():
    if len(one.right) != len(reference.right):
      raise ValueError(
        f"{name} answered {len(one.right)} queries, {baseline}"
        f" {len(reference.right)}: they cannot be compared in pairs."
      )
  ranked = sorted(scored.items(), key=lambda item: -item[1].accuracy.mean)
  return {
    name: Standing(
      accuracy=one.accuracy,
      gain=None
      if name == baseline
      else choosing.difference(one, reference, seed=seed),
      p_value=None
      if name == baseline
      else paired_p_value(
        one.right.astype(np.float64), reference.right.astype(np.float64)
      ),
    )
    for name, one in ranked
  }
