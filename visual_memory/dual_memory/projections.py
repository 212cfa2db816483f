"""Projections of the memories of a dual memory network, learnt from shots.

  projection = init_bias(num_classes=10, dim=512)       # zero: changes nothing
  keys, values = projection.rows(rows, classes)

Queries, keys, values and what is read are each moved a little before they are
compared. Everything starts at zero, so an untrained projection is the identity.
Both memories share one projection.

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), section 3.3: linear
layers with a residual connection. The released code has a bias for every class
instead; both are here.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from visual_memory.types import Array

_TINY = 1e-30
"""Keeps the length of a zero row, and its gradient, finite."""


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
