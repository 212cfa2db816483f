"""Reading a memory: each class answers with a mix of its rows like the query.

  cosines = read(queries, rows, mask, projection=NoProjection(), sharpness=5.5)
  scores = probabilities(cosines, inverse_temperature=100.0)      # [B, C]
  projection = init_bias(num_classes=10, dim=512)       # zero: changes nothing

For a query f and the rows m of a class c, with q, K, V, d from the projection:

  w_m = softmax_m(beta q.K_m)      a = norm(norm(sum_m w_m V_m) + d_c)
  cosine_c = a . f

The published weights exp(-beta (1 - q.K)) differ from w by a factor, and the
normalization takes it out. The sum over rows, C x D numbers per query, is never
made: its dot product with f is sum w (V.f), and its squared length w' V V' w.
Where the vectors of a class cancel almost wholly the length loses digits; rows
of one class of any trained encoder do not.

Projections are learnt from shots: queries, keys, values and what is read are
each moved a little before they are compared. Everything starts at zero, so an
untrained projection is the identity. Both memories share one projection.

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), equations 4 to 7,
fix_clip.py and dmn_main.py of the released code; section 3.3: linear layers
with a residual connection, where the released code has a bias for every class
instead; both are here.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32, Int

from visual_memory.types import Array

_TINY = 1e-30


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class NoProjection:
  """The identity: the training-free and the zero-shot network."""

  def queries(self, queries: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """The queries."""
    return queries

  def rows(
    self, rows: Float[Array, "*rows D"], classes: Int[Array, "*rows_or_1"]
  ) -> tuple[Float[Array, "*rows D"], Float[Array, "*rows D"]]:
    """The rows as keys and as values: the same array twice."""
    del classes
    return rows, rows

  def offsets(self) -> None:
    """Nothing is added to what is read."""
    return None

  def classifier(self, text: Float[Array, "C D"]) -> Float[Array, "C D"]:
    """The text classifier."""
    return text


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class BiasProjection:
  """A vector for every class, added and normalized again (released code).

  Attributes:
    query: [C, D]; queries have no class, so its mean over classes is added.
    key: added to the rows of a class where they are compared, [C, D].
    value: added to the rows of a class where they are averaged, [C, D].
    output: added to the normalized average, [C, D].
    text: added to the text classifier, [C, D]; the text rows in
      the memories stay as they are.
  """

  query: Float[Array, "C D"]
  key: Float[Array, "C D"]
  value: Float[Array, "C D"]
  output: Float[Array, "C D"]
  text: Float[Array, "C D"]

  def queries(self, queries: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Unit queries."""
    return unit(queries + jnp.mean(self.query, axis=0)[None])

  def rows(
    self, rows: Float[Array, "*rows D"], classes: Int[Array, "*rows_or_1"]
  ) -> tuple[Float[Array, "*rows D"], Float[Array, "*rows D"]]:
    """Unit keys and unit values of rows of these classes."""
    return unit(rows + self.key[classes]), unit(rows + self.value[classes])

  def offsets(self) -> Float[Array, "C D"]:
    """What is added to the normalized average of a class."""
    return self.output

  def classifier(self, text: Float[Array, "C D"]) -> Float[Array, "C D"]:
    """The trained text classifier, unit rows."""
    return unit(text + self.text)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProjection:
  """x + x W for queries, keys, values and what is read (the paper).

  Attributes:
    query: [D, D].
    key: [D, D].
    value: [D, D].
    output: [D, D]. Being linear, and its result normalized, it is applied to
      the values instead of to their average.
  """

  query: Float[Array, "D D"]
  key: Float[Array, "D D"]
  value: Float[Array, "D D"]
  output: Float[Array, "D D"]

  def queries(self, queries: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Unit queries."""
    return unit(_residual(queries, self.query))

  def rows(
    self, rows: Float[Array, "*rows D"], classes: Int[Array, "*rows_or_1"]
  ) -> tuple[Float[Array, "*rows D"], Float[Array, "*rows D"]]:
    """Unit keys, and values with the output's layer already applied."""
    del classes
    values = unit(_residual(rows, self.value))
    return unit(_residual(rows, self.key)), _residual(values, self.output)

  def offsets(self) -> None:
    """Nothing is added to what is read."""
    return None

  def classifier(self, text: Float[Array, "C D"]) -> Float[Array, "C D"]:
    """The text classifier, which the paper does not train."""
    return text


Projection = NoProjection | BiasProjection | LinearProjection


def read(
  queries: Float[Array, "B D"],
  rows: Float[Array, "C P D"],
  mask: Bool[Array, "C P #B"],
  *,
  projection: Projection,
  sharpness: float | Array,
) -> Float32[Array, "B C"]:
  """The cosine between each query and what each class answers.

  Args:
    queries: unit rows.
    rows: the memory: P unit rows of each class.
    mask: which rows each query sees; the last axis may be 1.
    projection: of queries and rows.
    sharpness: beta, how much likeness counts, at least 0.

  Returns:
    Cosines in [-1, 1]; -inf for a class of which a query sees no row.
  """
  keys, values = project(rows, projection)
  asked = projection.queries(queries)
  like = dots(keys, asked)  # [C, P, B]
  onto = like if values is keys and asked is queries else dots(values, queries)
  like = jnp.where(mask, sharpness * like, -jnp.inf)
  top = jax.lax.stop_gradient(jnp.max(like, axis=1, keepdims=True))
  seen = top > -jnp.inf
  weights = jnp.exp(like - jnp.where(seen, top, 0))
  gram = jnp.einsum("cpd,cqd->cpq", values, values, precision="highest")
  mixed = jnp.einsum("cpq,cqb->cpb", gram, weights, precision="highest")
  offsets, along = projection.offsets(), None
  if offsets is not None:
    shares = jnp.einsum("cpd,cd->cp", values, offsets, precision="highest")
    along = jnp.sum(weights * shares[..., None], axis=1)
  cosines = finish(
    jnp.sum(weights * onto, axis=1),
    jnp.sum(weights * mixed, axis=1),
    along,
    queries,
    offsets,
  )
  return jnp.where(seen[:, 0], cosines, -jnp.inf).T


def project(
  rows: Float[Array, "C P D"], projection: Projection
) -> tuple[Float[Array, "C P D"], Float[Array, "C P D"]]:
  """Keys and values of rows whose first axis is the class."""
  return projection.rows(rows, jnp.arange(rows.shape[0])[:, None])


def dots(
  rows: Float[Array, "C P D"], queries: Float[Array, "B D"]
) -> Float[Array, "C P B"]:
  """Every row's dot product with every query: one matrix product."""
  flat = rows.reshape(-1, rows.shape[-1])
  out = jnp.matmul(flat, queries.T, precision="highest")
  return out.reshape(*rows.shape[:2], queries.shape[0])


def finish(
  onto: Float[Array, "C B"],
  squares: Float[Array, "C B"],
  along: Float[Array, "C B"] | None,
  queries: Float[Array, "B D"],
  offsets: Float[Array, "C D"] | None,
) -> Float[Array, "C B"]:
  """The cosine from the products of the weighted sum s = sum w V.

  Args:
    onto: s . f.
    squares: s . s.
    along: s . d; None without offsets.
    queries: f, unit rows.
    offsets: d, what is added to norm(s); None for nothing.
  """
  scale = jax.lax.rsqrt(jnp.maximum(squares, _TINY))
  onto = onto * scale
  if offsets is None:
    return onto
  onto = onto + jnp.matmul(offsets, queries.T, precision="highest")
  own = jnp.sum(offsets * offsets, axis=1, keepdims=True)
  squares = 1 + 2 * along * scale + own
  return onto * jax.lax.rsqrt(jnp.maximum(squares, _TINY))


def probabilities(
  cosines: Float[Array, "*batch C"], *, inverse_temperature: float | Array
) -> Float32[Array, "*batch C"]:
  """softmax(tau cosine) over classes; uniform where no class has a row."""
  logits = inverse_temperature * cosines
  top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
  nothing = top == -jnp.inf
  logits = jnp.where(nothing, 0, logits - jnp.where(nothing, 0, top))
  scores = jnp.exp(logits)
  return scores / jnp.sum(scores, axis=-1, keepdims=True)


"""Keeps the length of a zero row, and its gradient, finite."""


def init_bias(*, num_classes: int, dim: int) -> BiasProjection:
  """Biases of zero."""
  zero = jnp.zeros((num_classes, dim), jnp.float32)
  return BiasProjection(
    query=zero, key=zero, value=zero, output=zero, text=zero
  )


def init_linear(*, num_classes: int, dim: int) -> LinearProjection:
  """Matrices of zero, which num_classes does not matter to."""
  del num_classes
  zero = jnp.zeros((dim, dim), jnp.float32)
  return LinearProjection(query=zero, key=zero, value=zero, output=zero)


INITS = {"bias": init_bias, "linear": init_linear}
"""Functions of num_classes and dim that make an untrained projection."""


def unit(rows: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
  """Each row divided by its length; differentiable everywhere."""
  squares = jnp.sum(rows * rows, axis=-1, keepdims=True)
  return rows * jax.lax.rsqrt(jnp.maximum(squares, _TINY))


def _residual(
  rows: Float[Array, "*rows D"], matrix: Float[Array, "D D"]
) -> Float[Array, "*rows D"]:
  return rows + jnp.matmul(rows, matrix, precision="highest")
