"""Color changes of one image [H, W, 3] in [0, 1], as torchvision defines them.

Every function is pure, has no branch that depends on values, and is to be
mapped over a batch. Results are clipped to [0, 1]; torchvision on Pillow
images also rounds to 8 bits after each change, which we do not.

Reference: torchvision's ColorJitter, RandomGrayscale and RandomSolarize on
Pillow images; Pillow's ImageEnhance and GaussianBlur.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, PRNGKeyArray

from visual_memory.types import Array

_LUMA = (0.299, 0.587, 0.114)
_BLUR_REACH = 3
"""Standard deviations of the Gaussian that are summed on either side."""


def gray(image: Float[Array, "H W 3"]) -> Float[jax.Array, "H W 1"]:
  """Luma of ITU-R 601."""
  weights = jnp.asarray(_LUMA)[None, None]
  return jnp.sum(image * weights, axis=-1, keepdims=True)


def brightness(
  image: Float[Array, "H W 3"], factor: Float[Array, ""]
) -> Float[jax.Array, "H W 3"]:
  """The image times the factor."""
  return jnp.clip(image * factor, 0.0, 1.0)


def contrast(
  image: Float[Array, "H W 3"], factor: Float[Array, ""]
) -> Float[jax.Array, "H W 3"]:
  """Away from the mean gray value (factor > 1) or towards it."""
  mean = jnp.mean(gray(image))
  return jnp.clip(mean + factor * (image - mean), 0.0, 1.0)


def saturation(
  image: Float[Array, "H W 3"], factor: Float[Array, ""]
) -> Float[jax.Array, "H W 3"]:
  """Away from each pixel's gray value (factor > 1) or towards it."""
  plain = gray(image)
  return jnp.clip(plain + factor * (image - plain), 0.0, 1.0)


def hue(
  image: Float[Array, "H W 3"], turn: Float[Array, ""]
) -> Float[jax.Array, "H W 3"]:
  """Hue in HSV moved by `turn` turns of the color circle.

  Which channel is the largest is asked of the channels, two of which may be
  taken for each other where they are nearly equal. That one equals the maximum
  need not hold where a compiler computes a pixel twice and rounds it two ways.
  """
  high = jnp.max(image, axis=-1)
  spread = high - jnp.min(image, axis=-1)
  safe = jnp.where(spread > 0, spread, 1.0)
  red, green, blue = image[..., 0], image[..., 1], image[..., 2]
  sector = jnp.where(
    (red >= green) & (red >= blue),
    (green - blue) / safe,
    jnp.where(green >= blue, 2 + (blue - red) / safe, 4 + (red - green) / safe),
  )
  sector = jnp.where(spread > 0, sector, 0.0) + 6 * turn
  # Each channel of HSV's inverse: v - v s max(0, min(1, k, 4 - k)).
  offsets = jnp.asarray([5.0, 3.0, 1.0])[None, None]
  k = jnp.mod(offsets + sector[..., None], 6.0)
  ramp = jnp.clip(jnp.minimum(k, 4 - k), 0.0, 1.0)
  return high[..., None] - spread[..., None] * ramp


def jitter(
  key: PRNGKeyArray,
  image: Float[Array, "H W 3"],
  *,
  strengths: tuple[float, float, float, float],
) -> Float[jax.Array, "H W 3"]:
  """Brightness, contrast, saturation and hue by random factors, in any order.

  Args:
    key: of the factors and the order.
    image: in [0, 1].
    strengths: factors are uniform in 1 +- strength (not below zero); the
      hue's turn is uniform in +- strength.
  """
  factor_key, order_key = jax.random.split(key)
  spans = jnp.asarray(strengths)
  u = jax.random.uniform(factor_key, (4,), minval=-1.0, maxval=1.0) * spans
  factors = jnp.maximum(0.0, 1 + u[:3])
  order = jax.random.permutation(order_key, 4)
  for place in range(4):
    image = jnp.select(
      [order[place] == change for change in range(4)],
      [
        brightness(image, factors[0]),
        contrast(image, factors[1]),
        saturation(image, factors[2]),
        hue(image, u[3]),
      ],
    )
  return image


def blur(
  image: Float[Array, "H W 3"], deviation: Float[Array, ""], *, most: float
) -> Float[jax.Array, "H W 3"]:
  """A Gaussian of this standard deviation in pixels; edges repeat.

  Pillow approximates it by three box blurs.

  Args:
    image: any values.
    deviation: standard deviation, at most `most`.
    most: fixes the number of taps.
  """
  reach = max(1, round(_BLUR_REACH * most))
  taps = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
  kernel = jnp.exp(-0.5 * jnp.square(taps / jnp.maximum(deviation, 1e-6)))
  kernel = kernel / jnp.sum(kernel)
  for axis in (0, 1):
    side = image.shape[axis]
    places = jnp.arange(side)[:, None] + jnp.arange(-reach, reach + 1)[None]
    matrix = (
      jnp.zeros((side, side))
      .at[jnp.arange(side)[:, None], jnp.clip(places, 0, side - 1)]
      .add(jnp.broadcast_to(kernel, places.shape))
    )
    image = jnp.moveaxis(
      jnp.tensordot(
        matrix,
        jnp.moveaxis(image, axis, 0),
        1,
        precision=jax.lax.Precision.HIGHEST,
      ),
      0,
      axis,
    )
  return image


def solarize(image: Float[Array, "H W 3"]) -> Float[jax.Array, "H W 3"]:
  """Values of at least 128 / 255 inverted."""
  return jnp.where(image >= 128 / 255, 1.0 - image, image)
