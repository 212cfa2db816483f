"""AugMix on the device: an image blended with chains of altered copies.

  mixed = augmix(pixels, key)         # [S, S, 3] in [0, 255]

Nine alterations, each either a shift of the pixels' places (rotate, shear,
translate) or a table from old to new values (autocontrast, equalize, posterize,
solarize). Every one is done as a warp and a table, one of which does nothing,
so that all images of a batch run the same program.

Reference: Hendrycks et al., "AugMix" (ICLR 2020), severity 1, with the
operations of its released code, as Pillow defines them; Zhang et al., "Dual
Memory Networks" (CVPR 2024), data/augmix_ops.py. Bilinear warps are rounded as
floats here, in Pillow by truncation after adding a half.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from visual_memory.types import Array

CHAINS = 3
LONGEST = 3
"""Alterations in a chain: one to this many."""

OPERATIONS = (
  "autocontrast", "equalize", "posterize", "rotate", "solarize", "shear_x",
  "shear_y", "translate_x", "translate_y",
)  # fmt: skip
_GEOMETRIC = tuple(
  name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
  for name in OPERATIONS
)
_SEVERITY = 1.0


def augmix(pixels: Float[Array, "S S 3"], key: Array) -> Float[Array, "S S 3"]:
  """m pixels + (1 - m) sum_i w_i chain_i(pixels), w Dirichlet(1), m Beta(1, 1).

  Args:
    pixels: whole numbers in [0, 255].
    key: decides everything.
  """
  weight_key, blend_key, chain_key = jax.random.split(key, 3)
  weights = jax.random.dirichlet(weight_key, jnp.ones(CHAINS))
  blend = jax.random.beta(blend_key, 1.0, 1.0)
  chains = jax.lax.map(
    lambda key: _chain(pixels, key), jax.random.split(chain_key, CHAINS)
  )
  mixed = jnp.einsum("n,nyxc->yxc", weights, chains, precision="highest")
  return blend * pixels + (1 - blend) * mixed


def _chain(pixels, key):
  """One to three alterations, one after the other."""
  depth_key, key = jax.random.split(key)
  depth = jax.random.randint(depth_key, (), 1, LONGEST + 1)

  def step(pixels, given):
    place, key = given
    which_key, level_key, sign_key = jax.random.split(key, 3)
    which = jax.random.randint(which_key, (), 0, len(OPERATIONS))
    level = jax.random.uniform(level_key, (), minval=0.1, maxval=_SEVERITY)
    sign = jnp.where(jax.random.bernoulli(sign_key), 1.0, -1.0)
    changed = alter(pixels, which, level, sign)
    return jnp.where(place < depth, changed, pixels), None

  keys = jax.random.split(key, LONGEST)
  return jax.lax.scan(step, pixels, (jnp.arange(LONGEST), keys))[0]


def alter(
  pixels: Float[Array, "S S 3"], which: Array, level: Array, sign: Array
) -> Float[Array, "S S 3"]:
  """One alteration of an image.

  Args:
    pixels: whole numbers in [0, 255].
    which: an index into OPERATIONS.
    level: strength, up to 10.
    sign: 1 or -1, the direction of the geometric ones.
  """
  side = pixels.shape[0]
  warped = _warp(pixels, _affine(which, level, sign, side))
  geometric = jnp.asarray(_GEOMETRIC)[which]
  return jnp.where(geometric, warped, _look_up(pixels, which, level))


def _affine(which, level, sign, side) -> Float[Array, "2 3"]:
  """From a pixel (x, y) of the result to its place in the image, as Pillow."""
  degrees = sign * jnp.trunc(level * 30 / 10)
  angle = jnp.deg2rad(degrees)
  shear = sign * level * 0.3 / 10
  shift = sign * jnp.trunc(level * (side / 3) / 10)
  one, zero = jnp.ones(()), jnp.zeros(())
  cosine, sine, center = jnp.cos(angle), jnp.sin(angle), side / 2
  rotate = [
    [cosine, -sine, center - cosine * center + sine * center],
    [sine, cosine, center - sine * center - cosine * center],
  ]
  same = [[one, zero, zero], [zero, one, zero]]
  matrices = {
    "rotate": rotate,
    "shear_x": [[one, shear, zero], same[1]],
    "shear_y": [same[0], [shear, one, zero]],
    "translate_x": [[one, zero, shift], same[1]],
    "translate_y": [same[0], [zero, one, shift]],
  }
  return jnp.stack([
    jnp.array(matrices.get(name, same)) for name in OPERATIONS
  ])[which]  # fmt: skip


def _warp(pixels, matrix):
  """Bilinear; places outside of the image are black."""
  side = pixels.shape[0]
  y, x = jnp.mgrid[:side, :side] + 0.5
  ones = jnp.ones_like(x)
  from_x, from_y = jnp.einsum("ij,jyx->iyx", matrix, jnp.stack([x, y, ones]),
                              precision="highest")  # fmt: skip
  inside = ((from_x >= 0) & (from_x < side) & (from_y >= 0) & (from_y < side))[
    ..., None
  ]
  from_x, from_y = from_x - 0.5, from_y - 0.5
  left, top = jnp.floor(from_x), jnp.floor(from_y)
  right_share, bottom_share = (
    (from_x - left)[..., None],
    (from_y - top)[..., None],
  )
  last = side - 1
  columns = [jnp.clip(left + d, 0, last).astype(jnp.int32) for d in (0, 1)]
  rows = [jnp.clip(top + d, 0, last).astype(jnp.int32) for d in (0, 1)]
  upper, lower = (
    pixels[row, columns[0]] * (1 - right_share)
    + pixels[row, columns[1]] * right_share
    for row in rows
  )
  mixed = upper * (1 - bottom_share) + lower * bottom_share
  return jnp.where(inside, jnp.round(mixed), 0.0)


def _look_up(pixels, which, level):
  """Each channel through its own table of 256 values."""
  whole = pixels.astype(jnp.int32)
  flat = whole.reshape(-1, 3)
  counts = jnp.stack([
    jnp.bincount(flat[:, channel], length=256) for channel in range(3)
  ])  # fmt: skip
  tables = jnp.stack([
    jax.vmap(autocontrast_table)(counts),
    jax.vmap(equalize_table)(counts),
    jnp.broadcast_to(posterize_table(level), (3, 256)),
    jnp.broadcast_to(solarize_table(level), (3, 256)),
    jnp.broadcast_to(jnp.arange(256), (3, 256)),
  ])  # fmt: skip
  table_of = np.array([0, 1, 2, 4, 3, 4, 4, 4, 4])  # By OPERATIONS.
  table = tables[jnp.asarray(table_of)[which]]
  channels = jnp.arange(3)[None, None, :]
  return table[channels, whole].astype(jnp.float32)


def autocontrast_table(counts: Int[Array, "256"]) -> Int[Array, "256"]:
  """The darkest value to 0, the lightest to 255."""
  present, values = counts > 0, jnp.arange(256)
  low = jnp.argmax(present)
  high = 255 - jnp.argmax(present[::-1])
  scale = 255.0 / jnp.maximum(high - low, 1)
  table = jnp.clip(jnp.trunc((values - low) * scale), 0, 255)
  return jnp.where(high > low, table, values).astype(jnp.int32)


def equalize_table(counts: Int[Array, "256"]) -> Int[Array, "256"]:
  """Pillow's equalization: steps of the cumulative histogram."""
  present, values = counts > 0, jnp.arange(256)
  last = counts[255 - jnp.argmax(present[::-1])]
  step = (jnp.sum(counts) - last) // 255
  before = jnp.cumsum(counts) - counts
  table = jnp.minimum((step // 2 + before) // jnp.maximum(step, 1), 255)
  return jnp.where((step > 0) & (present.sum() > 1), table, values)


def posterize_table(level: Array) -> Int[Array, "256"]:
  """Only the highest 4 - trunc(4 level / 10) bits are kept."""
  bits = 4 - jnp.trunc(level * 4 / 10).astype(jnp.int32)
  unit = jnp.left_shift(1, 8 - bits)
  return jnp.arange(256) // unit * unit


def solarize_table(level: Array) -> Int[Array, "256"]:
  """Values from 256 - trunc(256 level / 10) up are inverted."""
  threshold = 256 - jnp.trunc(level * 256 / 10).astype(jnp.int32)
  values = jnp.arange(256)
  return jnp.where(values < threshold, values, 255 - values)
