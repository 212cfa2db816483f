"""The one rule for numbers too small for float32: they are zero.

CPUs as XLA uses them read subnormal float32 numbers (below 2**-126, about
1.2e-38) as zero, other hardware does not. So entries of rows and queries are
set to zero where they enter, and similarities where they are rounded, by the
search and by its oracle alike: then all hardware gives the same answers.
"""

import numpy as np
from jaxtyping import Float, Float32

from visual_memory import parallel

SMALLEST = 2.0**-126
"""The smallest normal float32 number."""

_ENTRIES = 1 << 18
"""Looked at together: they and what is made of them stay in a cache."""


def flushed(values: Float32[np.ndarray, "*N D"]) -> Float32[np.ndarray, "*N D"]:
  """The values with subnormal entries set to zero; themselves if none is."""
  bits = np.ascontiguousarray(values).view(np.uint32).reshape(-1)

  def sound(start: int) -> np.bool_:
    part = bits[start : start + _ENTRIES]
    # Twice the bits, less one, unsigned: zero becomes the largest number.
    return ((part << 1) - np.uint32(1)).min() >= 0x00FFFFFF

  if all(parallel.run(sound, range(0, bits.size, _ENTRIES))):
    return values
  return np.where(np.abs(values) < SMALLEST, np.float32(0), values)


def rounded(exact: Float[np.ndarray, "*Q"]) -> Float32[np.ndarray, "*Q"]:
  """Float64 similarities as float32; what is below the normal range is zero."""
  return np.where(np.abs(exact) < SMALLEST, 0.0, exact).astype(np.float32)
