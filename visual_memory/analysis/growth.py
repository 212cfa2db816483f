"""A memory that grows class by class evenly: how its error falls with size.

  steps = nested_rows(labels, ids, per_class=(1, 10, 100), seed=0)
  for near in growing_neighbors(search, embedded, steps, k=100): ...
  law = fit_law("log", sizes, errors)         # error = c * log10(N) ** a
  law.error_at(1e9), law.interval_at(1e9, coverage=0.95)

The subsets are nested: what is in a small memory is in every larger one. So
the rows are searched once in all: the neighbors in the larger memory are the
best of those in the smaller one and of those among the rows that came.

Reference: Geirhos et al., ICML 2025, figure 3: independent draws, one
each; the error in percent is fitted as 10^b * (log10 N)^a, a power law in
log N, not in N.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from visual_memory.analysis import choosing
from visual_memory.analysis.intervals import Line, fit_line
from visual_memory.data.selection import id_hash
from visual_memory.types import UNLABELED, EmbeddedSet, Ids, Neighbors
from visual_memory.voting import metrics
from visual_memory.voting.queries import HeldOutQueries, TuningQueries
from visual_memory.voting.weighting import Setting


def nested_rows(
  labels: Int[np.ndarray, "N"],
  ids: Ids,
  *,
  per_class: Sequence[int],
  seed: int,
) -> list[np.ndarray]:
  """The rows that come at each size, in order of row; unlabelled ones never.

  A class smaller than a size gives all it has. Which rows come first depends
  on their ids and the seed alone.

  Args:
    labels: classes of the rows.
    ids: their ids.
    per_class: rows of each class at each step, increasing.
    seed: which rows.

  Raises:
    ValueError: sizes that do not increase from 1.
  """
  sizes = np.asarray(per_class)
  if sizes.ndim != 1 or not len(sizes) or (np.diff(sizes, prepend=0) < 1).any():
    raise ValueError(f"per_class must increase from 1; got {per_class}.")
  labels = np.asarray(labels)
  order = np.lexsort((id_hash(ids, salt=f"growth/{seed}"), labels))
  ordered = labels[order]
  starts = np.searchsorted(ordered, ordered)  # Of each row's class.
  place = np.empty(len(labels), np.int64)
  place[order] = np.arange(len(labels)) - starts
  step = np.searchsorted(sizes, place, side="right")
  step[labels == UNLABELED] = len(sizes)
  return [np.flatnonzero(step == i) for i in range(len(sizes))]


def growing_neighbors(
  search: Callable[[EmbeddedSet, int], Neighbors],
  embedded: EmbeddedSet,
  steps: Sequence[np.ndarray],
  *,
  k: int,
) -> Iterator[Neighbors]:
  """The neighbors after each step, exact: one search of each row in all.

  Args:
    search: the neighbors of some queries among some rows: (rows, k) ->
      Neighbors, with as many as it has if that is below k.
    embedded: all rows.
    steps: the rows that come at each step; see `nested_rows`.
    k: neighbors of each query; fewer while the memory is smaller.

  Yields:
    Neighbors whose `indices` are positions in embedded, ordered as in a memory
    that was given the rows step by step.
  """
  found = None
  for rows in steps:
    come = search(embedded.take(rows), k)
    positions = rows[np.asarray(come.indices)].astype(np.int32)
    come = dataclasses.replace(come, indices=positions)
    found = come if found is None else merge(found, come, k=k)
    yield found


def merge(before: Neighbors, after: Neighbors, *, k: int) -> Neighbors:
  """The k best of two parts of a memory, the first part inserted earlier."""
  similarities = np.concatenate(
    [np.asarray(before.similarities), np.asarray(after.similarities)], axis=1
  )
  order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
  pick = lambda a, b: np.take_along_axis(
    np.concatenate([np.asarray(a), np.asarray(b)], axis=1), order, axis=1
  )
  return Neighbors(
    ids=pick(before.ids, after.ids),
    indices=pick(before.indices, after.indices),
    labels=pick(before.labels, after.labels),
    similarities=np.take_along_axis(similarities, order, axis=1),
    num_redone=before.num_redone + after.num_redone,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrowthPoint:
  """A voter on a memory of one size.

  Attributes:
    num_rows: rows of the memory.
    k: chosen on tuning queries.
    accuracy: of held-out queries at this k.
    published: the best over k on the held-out queries themselves.
  """

  num_rows: int
  k: int
  accuracy: float
  published: float


def growth_points(
  held_out: HeldOutQueries,
  tuning: TuningQueries,
  *,
  num_rows: int,
  settings: Mapping[str, Setting],
  num_classes: int,
) -> dict[str, GrowthPoint]:
  """Every voter on a memory of this size, at any k that its queries have."""
  ks = range(1, held_out.near.k + 1)
  common = {"settings": settings, "ks": ks, "num_classes": num_classes}
  choices = choosing.choose_each(tuning, **common)
  table = metrics.accuracy_table(held_out.near, held_out.labels, **common)
  accuracy = table.accuracy()
  return {
    name: GrowthPoint(
      num_rows=num_rows,
      k=choices[name].k,
      accuracy=values[choices[name].k],
      published=max(values.values()),
    )
    for name, values in accuracy.items()
  }


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
