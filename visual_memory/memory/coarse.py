"""Low-precision copies of rows, with the error that each row makes.

A coarse copy makes the first pass of a search cheaper; the residual length of
every row is what lets the search certify that nothing was lost. For a row m
with coarse copy c and a query q with coarse copy p,

  |q.m - p.c| = |q.(m - c) + (q - p).c| <= |q| |m - c| + |q - p| |c|

(Cauchy-Schwarz twice). `residuals` holds |m - c|, rounded up.
"""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from visual_memory.types import Array

PRECISIONS = ("float32", "bfloat16", "int8")
"""First-pass precisions; float32 needs no coarse copy."""

ROUND_UP = 1 + 2**-10
"""Covers the rounding of the residual's own computation, with room."""

_FRACTIONS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Of the largest entry: what int8's 127 may stand for."""

SAMPLE_ROWS = 1024
"""From which the scale of all rows is found."""

LARGEST_INT8_DIM = 1 << 15
"""Up to here, sums of D products of int8 stay below 2**29."""


@typing.no_type_check  # Also rebuilt with specs and fill values as leaves.
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Coarse:
  """A low-precision copy of N rows.

  Attributes:
    values: bfloat16 or int8, [N, D].
    scale: row n is approximately values[n] * scale; one number for all rows,
      so that scores of different rows compare without being scaled, [].
    residuals: float32 upper bound of the Euclidean error of each row, [N].
  """

  values: Array
  scale: Float[Array, ""]
  residuals: Float[Array, "N"]


def scale_for(rows: Float[Array, "N D"], precision: str) -> Float[Array, ""]:
  """The scale for a memory that begins with these rows.

  Clipping the few largest entries makes the steps of all others finer; the
  scale is the best for the mean residual of some rows.

  Raises:
    ValueError: an unknown precision, or int8 with D over 32,768.
  """
  if precision == "bfloat16":
    return jnp.float32(1)
  if precision != "int8":
    raise ValueError(
      f"No coarse copy of precision {precision!r}: choose one of"
      f" {PRECISIONS[1:]}."
    )
  if rows.shape[1] > LARGEST_INT8_DIM:
    raise ValueError(
      f"int8 sums overflow at dimension {rows.shape[1]}: use bfloat16."
    )
  sample = rows[:SAMPLE_ROWS]

  def mean_error(scale):
    return _residuals(sample, _steps(sample, scale) * scale).mean()

  return int8_scale(jnp.max(jnp.abs(rows)), mean_error, jnp)


def int8_scale(
  largest: Float[Array, ""] | np.float32,
  mean_error: Callable[[Any], Any],
  numpy: Any,
) -> Float[Array, ""] | np.float32:
  """`scale_for` rows of this largest entry, found from some of them.

  Args:
    largest: magnitude.
    mean_error: the mean residual of the first rows, SAMPLE_ROWS or fewer, at
      a scale.
    numpy: the module of these arrays, NumPy or JAX's.
  """
  largest = numpy.maximum(largest, numpy.float32(1e-6)) / 127
  scales = [fraction * largest for fraction in _FRACTIONS]
  errors = numpy.stack([mean_error(scale) for scale in scales])
  return numpy.stack(scales)[numpy.argmin(errors)]


def coarsen(
  rows: Float[Array, "N D"],
  scale: Float[Array, ""] | Float[Array, "N 1"],
  precision: str,
) -> Coarse:
  """The coarse copy of float32 rows; zero rows stay exactly zero.

  Entries that a given scale (of all rows, or of each) cannot hold are clipped;
  the residual says so.
  """
  if precision == "bfloat16":
    # A compiler may take a conversion there and back for none at all, and
    # residuals would be zero.
    copies = lax.reduce_precision(rows, exponent_bits=8, mantissa_bits=7)
    values = copies.astype(jnp.bfloat16)
  else:
    values = _steps(rows, scale).astype(jnp.int8)
    copies = values.astype(jnp.float32) * scale
  residuals = _residuals(rows, copies)
  return Coarse(values=values, scale=scale, residuals=residuals * ROUND_UP)


def _steps(rows: Array, scale: Array) -> Array:
  """The nearest int8 values, as float32."""
  return (rows / scale).round().clip(-127, 127)


def _residuals(rows: Array, copies: Array) -> Float[Array, "N"]:
  """The Euclidean length of each row's error."""
  return ((rows - copies) ** 2).sum(axis=1) ** 0.5
