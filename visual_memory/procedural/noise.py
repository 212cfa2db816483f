"""Pixelwise functions that shaders are made of: waves, hashes and noise.

Everything is elementwise on float32 arrays of one shape, from a few additions
and multiplications, so that a whole picture compiles to vector loops. Waves
and angles are in turns (1 is a full circle), not in radians.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt32

from visual_memory.types import Array

Field = Float[Array, "..."] | np.floating | float
"""Values of all pixels, or one for all of them."""

Bits = UInt32[Array, "..."]

Words = UInt32[Array, "2"]
"""What a random key is made of: all that is random follows from its two words.

JAX's own generator is a hundred instructions for each number, which a CPU's
compiler takes seconds over; programs need no cryptography.
"""

# Least squares fits on a Chebyshev grid; the largest error is in the docstring.
_SINE = (6.28304258, -16.1982159, 16.5602573, -8.1545029)
_ARCTANGENT = (
  0.159135645,
  -0.0525856803,
  0.0287135705,
  -0.0135931544,
  0.0033314013,
)

# Odd multipliers that spread lattice coordinates over 32 bits.
_ALONG_X, _ALONG_Y, _MIX = (
  np.uint32(0x9E3779B1),
  np.uint32(0x85EBCA77),
  np.uint32(0xC2B2AE3D),
)


def sine(turns: Field) -> Field:
  """sin(2 pi turns), to 7e-6.

  Reference: own fit; it costs a third of the library's sine, and is the same
  on every backend up to rounding.
  """
  r = turns - jnp.round(turns)
  square = r * r
  series = _SINE[3] * square + _SINE[2]
  series = series * square + _SINE[1]
  series = series * square + _SINE[0]
  return r * (1.0 - 4.0 * square) * series


def cosine(turns: Field) -> Field:
  """cos(2 pi turns), to 7e-6."""
  return sine(turns + 0.25)


def angle(x: Field, y: Field) -> Field:
  """The direction of (x, y) in turns, in [-1/2, 1/2], to 2e-6 (at zero: 0)."""
  ax, ay = jnp.abs(x), jnp.abs(y)
  z = jnp.minimum(ax, ay) / (jnp.maximum(ax, ay) + 1e-12)
  square = z * z
  series = _ARCTANGENT[-1]
  for coefficient in _ARCTANGENT[-2::-1]:
    series = series * square + coefficient
  turns = z * series
  turns = jnp.where(ay > ax, 0.25 - turns, turns)
  turns = jnp.where(x < 0, 0.5 - turns, turns)
  return jnp.where(y < 0, -turns, turns)


def smooth(x: Field, low: Field, high: Field) -> Field:
  """GLSL's smoothstep: 0 below low, 1 above high, 3s^2 - 2s^3 between."""
  s = jnp.clip((x - low) / (high - low), 0.0, 1.0)
  return s * s * (3.0 - 2.0 * s)


def triangle(x: Field) -> Field:
  """A triangle wave of period 1 in [-1, 1]; 1 at the integers."""
  return 1.0 - 4.0 * jnp.abs(x - jnp.round(x))


def whole_bits(whole: Field) -> Bits:
  """Whole numbers (below 2^22) as integers modulo 2^32.

  Reads the mantissa of a sum: a conversion would check every number for
  overflow and NaN, at four times the cost.
  """
  shifted = jnp.asarray(whole, jnp.float32) + np.float32(1.5 * 2**23)
  bits = jax.lax.bitcast_convert_type(shifted, jnp.uint32)
  return bits - np.uint32(0x4B400000)


def lattice(x: Field, y: Field, seed: Bits) -> tuple:
  """The cell of each point: (fraction x, fraction y, hash parts x, y)."""
  cell_x, cell_y = jnp.floor(x), jnp.floor(y)
  bits_x = whole_bits(cell_x) * _ALONG_X + seed
  bits_y = whole_bits(cell_y) * _ALONG_Y
  return x - cell_x, y - cell_y, bits_x, bits_y


def scramble(bits: Bits) -> Bits:
  """Well mixed bits from the sum of two hash parts."""
  bits = (bits ^ (bits >> 15)) * _MIX
  return bits ^ (bits >> 13)


def derived(words: Words, number: Array | int) -> Words:
  """Other words, for each number; unrelated for different numbers."""
  number = jnp.asarray(number, jnp.uint32)
  first = _stirred(words[0] ^ _stirred(number + np.uint32(0x632BE5AB)))
  return jnp.stack([first, _stirred(words[1] + first * _ALONG_X)])


def random_bits(words: Words, count: int) -> UInt32[Array, "n"]:
  """Independent bits, the same for the same words."""
  places = jnp.arange(count, dtype=jnp.uint32) * _ALONG_X
  return _stirred(_stirred(places + words[0]) ^ words[1])


def uniform(words: Words, count: int) -> Float[Array, "n"]:
  """Independent numbers in [0, 1), the same for the same words."""
  bits = (random_bits(words, count) >> 8).astype(jnp.int32)
  return bits.astype(jnp.float32) * np.float32(2.0**-24)


def _stirred(bits: Bits) -> Bits:
  """Every bit of the result depends on every bit.

  Reference: the finalizer of MurmurHash3 (A. Appleby), with C. Wellons's
  multipliers, which have less bias.
  """
  bits = (bits ^ (bits >> 16)) * np.uint32(0x7FEB352D)
  bits = (bits ^ (bits >> 15)) * np.uint32(0x846CA68B)
  return bits ^ (bits >> 16)


def lowest(bits: Bits) -> Field:
  """The 16 lowest bits as whole numbers."""
  return (bits & 0xFFFF).astype(jnp.int32).astype(jnp.float32)


def unit(bits: Bits) -> Field:
  """Bits as numbers in [0, 1), from their 16 lowest."""
  return lowest(bits) * 2.0**-16


def unit_pair(bits: Bits) -> tuple[Field, Field]:
  """Two numbers in [0, 1) from one hash."""
  return unit(bits), (bits >> 16).astype(jnp.int32).astype(
    jnp.float32
  ) * 2.0**-16


def value_noise(x: Field, y: Field, seed: Bits) -> Field:
  """Random values at lattice points, blended smoothly; in [-1, 1]."""
  fx, fy, bx, by = lattice(x, y, seed)
  sx, sy = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy)
  bx1, by1 = bx + _ALONG_X, by + _ALONG_Y
  a, b = lowest(scramble(bx + by)), lowest(scramble(bx1 + by))
  c, d = lowest(scramble(bx + by1)), lowest(scramble(bx1 + by1))
  top, bottom = a + sx * (b - a), c + sx * (d - c)
  # Scaled once: by a power of two, which changes no bits.
  return (top + sy * (bottom - top)) * 2.0**-15 - 1.0


def simplex_noise(x: Field, y: Field, seed: Bits) -> Field:
  """Gradient noise on triangles; mean 0, standard deviation 0.18.

  Reference: K. Perlin, "Noise hardware" (2001). Gradients are points of a
  square, not unit vectors, which costs no trigonometry.
  """
  skew, unskew = 0.36602540378, 0.2113248654
  s = (x + y) * skew
  cell_x, cell_y = jnp.floor(x + s), jnp.floor(y + s)
  t = (cell_x + cell_y) * unskew
  x0, y0 = x - (cell_x - t), y - (cell_y - t)
  right = x0 > y0
  step = right.astype(jnp.float32)
  bits_x = whole_bits(cell_x) * _ALONG_X + seed
  bits_y = whole_bits(cell_y) * _ALONG_Y
  bits = bits_x + bits_y
  middle = bits + jnp.where(right, _ALONG_X, _ALONG_Y)
  last = bits + np.uint32((int(_ALONG_X) + int(_ALONG_Y)) % 2**32)
  total = _corner(x0, y0, bits)
  total += _corner(x0 - step + unskew, y0 - 1.0 + step + unskew, middle)
  total += _corner(x0 - 1.0 + 2 * unskew, y0 - 1.0 + 2 * unskew, last)
  return 80.0 * total


def _corner(x: Field, y: Field, bits: Bits) -> Field:
  """What a corner's gradient adds at the offset (x, y) from it."""
  gx, gy = unit_pair(scramble(bits))
  fall = jnp.maximum(0.5 - x * x - y * y, 0.0)
  fall = fall * fall
  return fall * fall * ((gx - 0.5) * x + (gy - 0.5) * y)


def octaves(noise, x: Field, y: Field, seed: Bits, *, num, gain, shape):
  """Fractal sum of shape(noise) over octaves, each turned, about in [-1, 1].

  Args:
    noise: value_noise or simplex_noise.
    x: coordinates; one period of the coarsest octave is 1.
    y: likewise.
    seed: fixes the pattern.
    num: how many octaves; may be traced, and none gives zeros.
    gain: an octave's amplitude over that of the one before, below 1.
    shape: applied to each octave's noise.
  """

  # A loop, whose body is compiled once: a CPU's compiler draws one octave as
  # fast loops over vectors, and several, fused, number by number.
  def add(index, carry):
    x, y, total, amplitude = carry
    offset = jnp.asarray(index).astype(jnp.uint32) * np.uint32(0x632BE5AB)
    total = total + amplitude * shape(noise(x, y, seed + offset))
    # A turn by the 3-4-5 triangle's angle, and twice the frequency.
    x, y = 1.6 * x - 1.2 * y + 0.37, 1.2 * x + 1.6 * y - 0.71
    return x, y, total, amplitude * gain

  start = (x, y, jnp.zeros_like(x), jnp.float32(1.0))
  _, _, total, last = jax.lax.fori_loop(0, num, add, start)
  return total * ((1.0 - gain) / jnp.maximum(1.0 - last, 1e-6))


def worley(x: Field, y: Field, seed: Bits, *, jitter) -> tuple:
  """Distances to the nearest and second feature points, and a cell's value.

  Returns:
    (first, second, value in [0, 1) of the nearest point).
  """
  fx, fy, bx, by = lattice(x, y, seed)
  first = jnp.full_like(x, 8.0)
  second, nearest = first, jnp.zeros_like(bx)
  for j in (-1, 0, 1):
    for i in (-1, 0, 1):
      bits = scramble(
        bx + by + np.uint32((i * int(_ALONG_X) + j * int(_ALONG_Y)) % 2**32)
      )
      px, py = unit_pair(bits)
      dx = fx - i - 0.5 - jitter * (px - 0.5)
      dy = fy - j - 0.5 - jitter * (py - 0.5)
      square = dx * dx + dy * dy
      nearest = jnp.where(square < first, bits, nearest)
      second = jnp.minimum(second, jnp.maximum(first, square))
      first = jnp.minimum(first, square)
  return jnp.sqrt(first), jnp.sqrt(second), unit(nearest >> 7)
