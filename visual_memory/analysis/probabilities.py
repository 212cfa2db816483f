"""From vote shares to class probabilities, fitted on tuning queries.

  share = shares(tuning.near, setting, k=k)
  model = fit_probabilities(share, tuning, num_classes=C)
  p = probabilities(shares(near, setting, k=k), model, num_classes=C)

A class with share s gets the probability

  (1 - smoothing) * s^(1 / temperature) / sum + smoothing / C.

Without smoothing, a class that no neighbor has would be impossible, and one
such query would make the log likelihood infinite.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from visual_memory.types import UNLABELED, Array
from visual_memory.voting.queries import TuningQueries, check_tuning
from visual_memory.voting.shares import Shares, share_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbabilityModel:
  """How shares become probabilities.

  Attributes:
    temperature: above 1 flattens the shares, below 1 sharpens them.
    smoothing: what is spread evenly over all classes, in (0, 1].
  """

  temperature: float
  smoothing: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probabilities:
  """Class probabilities of Q queries, without the C columns.

  Attributes:
    labels: int32 classes of the neighbors, [Q, k].
    values: probabilities at each class's first neighbor, 0 elsewhere, [Q, k].
    rest: the probability of every class that has none above, [Q].
    num_classes: C.
  """

  labels: Int[np.ndarray, "Q k"]
  values: Float[np.ndarray, "Q k"]
  rest: Float[np.ndarray, "Q"]
  num_classes: int

  def of(self, classes: Int[Array, "Q"]) -> Float[np.ndarray, "Q"]:
    """The probability of one class of each query."""
    own = share_of(self.labels, self.values, classes)
    return np.where(own > 0, own, self.rest)

  def brier(self, classes: Int[Array, "Q"]) -> Float[np.ndarray, "Q"]:
    """Squared distance to certainty of these classes, in [0, 2]."""
    others = self.num_classes - (self.values > 0).sum(axis=1)
    squares = np.einsum("qk,qk->q", self.values, self.values)
    squares += others * self.rest**2
    return squares - 2 * self.of(classes) + 1

  def nll(self, classes: Int[Array, "Q"]) -> Float[np.ndarray, "Q"]:
    """Negative log likelihood of these classes, in nats."""
    return -np.log(self.of(classes))


def published_model(k: int) -> ProbabilityModel:
  """The shares as they are, with one more vote, spread over all classes."""
  return ProbabilityModel(temperature=1.0, smoothing=1 / (k + 1))


def probabilities(
  share: Shares, model: ProbabilityModel, *, num_classes: int
) -> Probabilities:
  """The probabilities that a model makes of shares.

  Raises:
    ValueError: a temperature that is not positive, or a smoothing outside
      (0, 1].
  """
  if not model.temperature > 0 or not 0 < model.smoothing <= 1:
    raise ValueError(
      f"{model} needs a temperature above 0 and a smoothing in (0, 1]."
    )
  queries, places = np.nonzero(share.values)
  given = _tempered(share, queries, places, model.temperature)
  values = np.zeros(share.values.shape)
  even = model.smoothing / num_classes
  values[queries, places] = (1 - model.smoothing) * given + even
  rest = np.where(share.values.any(axis=1), even, 1 / num_classes)
  return Probabilities(
    labels=share.labels, values=values, rest=rest, num_classes=num_classes
  )


def fit_probabilities(
  share: Shares, tuning: TuningQueries, *, num_classes: int
) -> ProbabilityModel:
  """The model of the largest likelihood on the tuning queries.

  Args:
    share: the tuning queries' shares.
    tuning: whose labels are fitted; unlabelled queries, and those of classes
      from num_classes up, are left out.
    num_classes: C.

  Raises:
    TypeError: anything but TuningQueries.
    ValueError: no labelled query.
  """
  from scipy import optimize

  check_tuning(tuning)
  inside = (tuning.labels != UNLABELED) & (tuning.labels < num_classes)
  if not inside.any():
    raise ValueError("No tuning query has a label: nothing can be fitted.")
  share = Shares(labels=share.labels[inside], values=share.values[inside])
  queries, places = np.nonzero(share.values)
  is_true = share.labels[queries, places] == tuning.labels[inside][queries]
  voted = share.values.any(axis=1)

  def loss(point):
    temperature, smoothing = np.exp(point[0]), 1 / (1 + np.exp(-point[1]))
    given = _tempered(share, queries, places, temperature)
    of_true = np.zeros(len(voted))
    of_true[queries[is_true]] = given[is_true]
    likelihood = (1 - smoothing) * of_true + smoothing / num_classes
    return -np.log(np.where(voted, likelihood, 1 / num_classes)).mean()

  best = optimize.minimize(
    loss,
    x0=[0.0, -3.0],
    method="L-BFGS-B",
    bounds=[(-3.0, 3.0), (-12.0, 6.0)],
  ).x
  return ProbabilityModel(
    temperature=float(np.exp(best[0])),
    smoothing=float(1 / (1 + np.exp(-best[1]))),
  )


def _tempered(share, queries, places, temperature) -> np.ndarray:
  """Every positive share to the power 1 / temperature, adding up to 1.

  Divided by the largest share first: small ones may vanish, never all.
  """
  top = share.values.max(axis=1).astype(np.float64)
  relative = share.values[queries, places] / top[queries]
  powers = np.exp(np.log(relative) / temperature)
  total = np.bincount(queries, powers, minlength=len(top))
  return powers / total[queries]
