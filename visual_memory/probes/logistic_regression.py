"""Logistic regression by L-BFGS, and a search for its strength.

  fitted = fit(rows, labels, strength=1.0, num_classes=10, max_steps=1000)
  fitted.predict(queries)                                       # int32 [Q]
  best, scores = search_strength(lambda c: accuracy(fit(..., strength=c)))

The objective is scikit-learn's: 1/2 |W|^2 + strength * (sum of the rows'
cross-entropies), the bias free. CLIP's linear probes are these, on the image
embeddings, with the strength found by a search that narrows down on the peak:
seven values from 1e-6 to 1e6, then ever closer ones around the best, until
there are eight to a decade.

Reference: Radford et al., "Learning transferable visual models from natural
language supervision", 2021, appendix A.3 (at most 1,000 steps).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int, Int32

from visual_memory.types import Array

_BLOCK = 8192
"""Rows whose scores exist at once."""

_HISTORY = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
  """A logistic regression; host arrays.

  Attributes:
    weights: [D, C].
    bias: [C].
    steps: how many L-BFGS took.
    gradient: the largest entry of the gradient where it stopped, of the
      objective divided by strength * N.
  """

  weights: Float[np.ndarray, "D C"]
  bias: Float[np.ndarray, "C"]
  steps: int
  gradient: float

  def predict(self, queries: Float[Array, "Q D"]) -> Int32[np.ndarray, "Q"]:
    """The most probable class of each query."""
    return self._scores(queries).argmax(axis=1).astype(np.int32)

  def probabilities(
    self, queries: Float[Array, "Q D"]
  ) -> Float[np.ndarray, "Q C"]:
    """The probability of each class, float64."""
    scores = self._scores(queries).astype(np.float64)
    values = np.exp(scores - scores.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)

  def _scores(self, queries: Float[Array, "Q D"]) -> np.ndarray:
    """The logits, [Q, C]."""
    return np.asarray(queries, np.float32) @ self.weights + self.bias


def fit(
  rows: Float[np.ndarray, "N D"],
  labels: Int[np.ndarray, "N"],
  *,
  strength: float,
  num_classes: int,
  max_steps: int,
  tolerance: float = 1e-4,
  start: Fitted | None = None,
) -> Fitted:
  """The regression of these rows.

  Args:
    rows: on the host; any length.
    labels: their classes, all known, [N].
    strength: of the data against the penalty (scikit-learn's C), positive.
    num_classes: C.
    max_steps: of L-BFGS.
    tolerance: stop once no entry of the gradient (see Fitted) is larger.
    start: where to start: for a nearby strength; otherwise zero.

  Raises:
    ValueError: a strength that is not positive, or unlabeled rows.
  """
  if not 0 < strength < math.inf:
    raise ValueError(f"strength = {strength} must be positive.")
  labels = np.asarray(labels)
  check_labels(labels, num_rows=len(rows), num_classes=num_classes)
  dim = rows.shape[1]
  first = (
    (jnp.zeros((dim, num_classes)), jnp.zeros(num_classes))
    if start is None
    else (jnp.asarray(start.weights), jnp.asarray(start.bias))
  )
  params, steps, gradient = _minimize(
    first,
    _blocks(rows, labels),
    1 / (strength * len(rows)),
    max_steps,
    tolerance,
  )
  return Fitted(
    weights=np.asarray(params[0]),
    bias=np.asarray(params[1]),
    steps=int(steps),
    gradient=float(gradient),
  )


def search_strength(
  score: Callable[[float], float],
  *,
  strengths: Sequence[float],
  refinements: int,
) -> tuple[float, dict[float, float]]:
  """The strength of the highest score, and all scores, by strength.

  Args:
    score: of a strength, on tuning rows; higher is better.
    strengths: where to look first, evenly spaced in the logarithm.
    refinements: how often to halve the spacing around the best; CLIP's four
      take a spacing of two decades to one of an eighth.

  Raises:
    ValueError: fewer than two strengths.
  """
  exponents = sorted(math.log10(strength) for strength in strengths)
  if len(exponents) < 2:
    raise ValueError("The search needs at least two strengths to start from.")
  spacing = exponents[1] - exponents[0]
  scores = {exponent: score(10**exponent) for exponent in exponents}
  # Of equal scores the weakest fit, which is the simplest, wins.
  best = lambda: max(sorted(scores), key=scores.__getitem__)
  for _ in range(refinements):
    spacing /= 2
    center = best()
    for exponent in (center - spacing, center + spacing):
      scores[exponent] = score(10**exponent)
  ordered = {10**exponent: scores[exponent] for exponent in sorted(scores)}
  return 10 ** best(), ordered


def _blocks(rows, labels):
  """Rows in blocks, the last one padded with weight zero."""
  # A power of two for few rows: some more or less use the same program.
  size = min(_BLOCK, 1 << (len(rows) - 1).bit_length())
  padding = -len(rows) % size
  shape = lambda x: x.reshape(-1, size, *x.shape[1:])
  return (
    shape(np.pad(np.asarray(rows, np.float32), ((0, padding), (0, 0)))),
    shape(np.pad(labels.astype(np.int32), (0, padding))),
    shape(np.pad(np.ones(len(rows), np.float32), (0, padding))),
  )


@functools.partial(jax.jit, static_argnames="max_steps")
def _minimize(params, blocks, penalty, max_steps, tolerance):
  """L-BFGS until the gradient is small or the steps are used up."""
  value_of = lambda params: _objective(params, blocks, penalty)
  solver = optax.lbfgs(memory_size=_HISTORY)
  value_and_grad = optax.value_and_grad_from_state(value_of)
  largest = lambda grad: jnp.maximum(*(jnp.abs(g).max() for g in grad))

  def step(carry):
    params, state, count, _ = carry
    value, grad = value_and_grad(params, state=state)
    updates, state = solver.update(
      grad, state, params, value=value, grad=grad, value_fn=value_of
    )
    params = optax.apply_updates(params, updates)
    return params, state, count + 1, largest(optax.tree.get(state, "grad"))

  def going(carry):
    return (carry[2] < max_steps) & (carry[3] > tolerance)

  start = (params, solver.init(params), 0, jnp.asarray(jnp.inf))
  params, _, count, gradient = jax.lax.while_loop(going, step, start)
  return params, count, gradient


@jax.custom_vjp
def _objective(params, blocks, penalty):
  """Mean cross-entropy plus penalty / 2 * |W|^2."""
  return _value_and_grad(params, blocks, penalty)[0]


def _value_and_grad(params, blocks, penalty):
  """The objective and its gradient, in one pass over the blocks."""
  weights, bias = params
  precision = jax.lax.Precision.HIGHEST

  def add(sums, block):
    rows, labels, mask = block
    scores = jnp.matmul(rows, weights, precision=precision) + bias[None]
    logs = jax.nn.log_softmax(scores)
    chosen = jnp.take_along_axis(logs, labels[:, None], axis=1).squeeze(1)
    wrong = (jnp.exp(logs) - jax.nn.one_hot(labels, len(bias))) * mask[:, None]
    grad = jnp.matmul(rows.T, wrong, precision=precision)
    new = (-(chosen * mask).sum(), grad, wrong.sum(axis=0))
    return jax.tree.map(jnp.add, sums, new), None

  zeros = (jnp.zeros(()), jnp.zeros_like(weights), jnp.zeros_like(bias))
  (loss, grad, bias_grad), _ = jax.lax.scan(add, zeros, blocks)
  total = blocks[2].sum()
  value = loss / total + penalty / 2 * (weights**2).sum()
  return value, (grad / total + penalty * weights, bias_grad / total)


def _forward(params, blocks, penalty):
  return _value_and_grad(params, blocks, penalty)


def _backward(grads, cotangent):
  return jax.tree.map(lambda g: g * cotangent, grads), None, None


_objective.defvjp(_forward, _backward)


def check_labels(labels: np.ndarray, *, num_rows: int, num_classes: int):
  """Raises ValueError unless every row has a class; names the first without."""
  if len(labels) != num_rows or not num_rows:
    raise ValueError(f"{len(labels)} labels for {num_rows} rows.")
  bad = (labels < 0) | (labels >= num_classes)
  if bad.any():
    row = int(np.argmax(bad))
    raise ValueError(
      f"Row {row} has label {labels[row]}: probes learn from rows labeled 0 to"
      f" {num_classes - 1}; leave the others out."
    )
