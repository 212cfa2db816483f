"""How error falls with the size of a memory, and how far that can be trusted.

  law = fit_law("log", sizes, errors)         # error = c * log10(N) ** a
  law.error_at(1e9), law.interval_at(1e9, coverage=0.95)
  extrapolation_error("log", sizes, errors, num_fitted=4)

Reference: Geirhos et al., ICML 2025, figure 3: the error in percent is fitted
as 10^b * (log10 N)^a, a power law in log N, not in N.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from visual_memory.analysis.line_fit import Line, fit_line

FORMS = {
  "log": lambda sizes: np.log10(np.log10(sizes)),
  "power": np.log10,
}
"""What log10(error) is linear in: a power law in log N, or in N."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalingLaw:
  """log10(100 * error) = a * x(N) + b.

  Attributes:
    form: a key of FORMS.
    line: the fit; its slope is a, its intercept b, as published.
  """

  form: str
  line: Line

  def error_at(
    self, sizes: Shaped[np.ndarray, "*n"] | float | np.number
  ) -> Any:
    """The fitted error, a fraction, shaped as the sizes."""
    return 10 ** self.line.at(FORMS[self.form](np.asarray(sizes))) / 100

  def interval_at(
    self, sizes: Shaped[np.ndarray, "*n"] | float, *, coverage: float
  ) -> tuple[Any, Any]:
    """Where one more measurement would fall, if the form is right.

    Returns:
      The lower and upper ends, fractions, shaped as the sizes.

    Raises:
      ValueError: fewer than three points were fitted.
    """
    from scipy import stats

    free = self.line.num_points - 2
    if free < 1:
      raise ValueError("An interval needs a fit to three points or more.")
    x = FORMS[self.form](np.asarray(sizes))
    reach = stats.t.ppf((1 + coverage) / 2, free) * self.line.predict_error(x)
    middle = self.line.at(x)
    return 10 ** (middle - reach) / 100, 10 ** (middle + reach) / 100


def fit_law(
  form: str,
  sizes: Shaped[np.ndarray, "n"],
  errors: Float[np.ndarray, "n"],
) -> ScalingLaw:
  """The law of this form, by least squares in log space.

  Args:
    form: a key of FORMS.
    sizes: of the memory, rows; several measurements of one size are fine.
    errors: fractions, above 0.

  Raises:
    ValueError: an unknown form, sizes of 1 and below, or errors of 0.
  """
  if form not in FORMS:
    raise ValueError(f"Unknown form {form!r}; there are {', '.join(FORMS)}.")
  sizes, errors = np.asarray(sizes, np.float64), np.asarray(errors)
  if not (sizes > 1).all() or not (errors > 0).all():
    raise ValueError(
      "A law needs sizes above 1 and errors above 0; got sizes from"
      f" {sizes.min()} and errors from {errors.min()}."
    )
  return ScalingLaw(
    form=form, line=fit_line(FORMS[form](sizes), np.log10(100 * errors))
  )


def rows_for_error(
  error: float,
  sizes: Shaped[np.ndarray, "n"],
  errors: Float[np.ndarray, "n"],
) -> float | None:
  """How many rows reach this error: between measured sizes, in log space.

  Args:
    error: a fraction above 0.
    sizes: of the memory, rows; errors of one size are averaged.
    errors: fractions.

  Returns:
    The least number of rows; None if no measured size has so small an error.
  """
  steps = np.unique(sizes)
  means = np.array([np.mean(errors[sizes == size]) for size in steps])
  reached = np.flatnonzero(means <= error)
  if not len(reached):
    return None
  last = reached[0]
  if last == 0 or means[last] == error or not means[last] > 0:
    return float(steps[last])
  across = np.log(means[last - 1 : last + 1])
  share = (across[0] - np.log(error)) / (across[0] - across[1])
  ends = np.log(steps[last - 1 : last + 1])
  return float(np.exp(ends[0] + share * (ends[1] - ends[0])))


def extrapolation_error(
  form: str,
  sizes: Shaped[np.ndarray, "n"],
  errors: Float[np.ndarray, "n"],
  *,
  largest_fitted: float,
) -> float:
  """How wrong a fit to small memories is about the largest one.

  Args:
    form: a key of FORMS.
    sizes: of the memory, rows.
    errors: fractions.
    largest_fitted: memories above this size are left out of the fit.

  Returns:
    (predicted - measured) error at the largest size, relative to measured.
  """
  sizes, errors = np.asarray(sizes), np.asarray(errors)
  law = fit_law(form, *(v[sizes <= largest_fitted] for v in (sizes, errors)))
  measured = errors[sizes == sizes.max()].mean()
  return float(law.error_at(sizes.max()) / measured - 1)
