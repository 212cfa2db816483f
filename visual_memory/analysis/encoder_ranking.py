"""Encoders side by side: who is right more often, and by more than chance?

  standings = rank_encoders(scored, baseline="shaders", seed=0)
  standings["kml"].gain                          # over the baseline, 95 %

All are scored on the same queries, so that differences are paired.
"""

import dataclasses
from collections.abc import Mapping

from visual_memory.analysis import choosing
from visual_memory.analysis.intervals import Difference, Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
  """Where one encoder stands.

  Attributes:
    accuracy: on the queries, with its bootstrap interval.
    gain: against the baseline, this pair alone; None of itself.
  """

  accuracy: Interval
  gain: Difference | None


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
    )
    for name, one in ranked
  }
