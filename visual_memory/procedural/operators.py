"""What an operator of a shader program is: code, and what a grammar may ask.

An operator is a pixelwise function with a few constants. Its row in a table
says how often the grammar picks it, and from which ranges and with which drift
over time its constants come. Operators may share a function and differ in a
constant that is fixed: what is compiled is functions.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

NUM_CONSTANTS = 5

LINEAR, LOG, WHOLE = 0, 1, 2
"""How a constant is drawn: uniform, log-uniform, or a uniform integer."""


@dataclasses.dataclass(frozen=True)
class Range:
  """Where a constant comes from, and how it changes over time.

  Attributes:
    low: least value.
    high: greatest value (included for WHOLE).
    scale: LINEAR, LOG or WHOLE.
    drift: standard deviation of the change per second; 0 stands still.
  """

  low: float | int
  high: float | int
  scale: int = LINEAR
  drift: float | int = 0.0


def linear(
  low: float | int, high: float | int, drift: float | int = 0.0
) -> Range:
  """Uniform in [low, high]."""
  return Range(low, high, LINEAR, drift)


def log(low: float | int, high: float | int) -> Range:
  """Log-uniform in [low, high]; both positive."""
  return Range(low, high, LOG)


def whole(low: int, high: int) -> Range:
  """A uniform integer, both ends included."""
  return Range(low, high, WHOLE)


def fixed(value: int) -> Range:
  """Always this: which of a function's operators it is."""
  return Range(value, value)


PHASE = linear(0, 1, 0.05)
"""A phase or an angle in turns."""


@dataclasses.dataclass(frozen=True)
class Operator:
  """One operator.

  Attributes:
    name: unique in its table.
    function: of the pixel state, the constants and a seed.
    weight: how often the grammar picks it, relative to its table.
    ranges: of its constants; those it does not use may be left out.
  """

  name: str
  function: Callable
  weight: float
  ranges: tuple[Range, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
  """Operators of one kind as arrays, for drawing without branches.

  Attributes:
    functions: those of the operators, each once.
    branch: which of them is an operator's, int32 [O].
    names: one per operator.
    weights: float32 [O], summing to 1.
    low, high, drift: float32 [O, NUM_CONSTANTS].
    scale: int32 [O, NUM_CONSTANTS].
  """

  functions: tuple[Callable, ...]
  branch: np.ndarray
  names: tuple[str, ...]
  weights: np.ndarray
  low: np.ndarray
  high: np.ndarray
  drift: np.ndarray
  scale: np.ndarray


def table(operators: Sequence[Operator]) -> Table:
  """The table of these operators; an operator's code is its position."""
  unused = Range(0.0, 0.0)
  rows = [
    op.ranges + (unused,) * (NUM_CONSTANTS - len(op.ranges)) for op in operators
  ]

  def column(field: str, dtype) -> np.ndarray:
    return np.array([[getattr(r, field) for r in row] for row in rows], dtype)

  weights = np.array([op.weight for op in operators], np.float32)
  functions = tuple(dict.fromkeys(op.function for op in operators))
  branch = [functions.index(op.function) for op in operators]
  return Table(
    functions=functions,
    branch=np.array(branch, np.int32),
    names=tuple(op.name for op in operators),
    weights=weights / weights.sum(),
    low=column("low", np.float32),
    high=column("high", np.float32),
    drift=column("drift", np.float32),
    scale=column("scale", np.int32),
  )
