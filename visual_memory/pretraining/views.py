"""Multi-crop views of a batch of images, made on the device.

  views = make_views(keys, images, settings)
  views.globals                  # float32 [G, B, S, S, 3], normalized
  views.locals                   # float32 [L, B, s, s, 3]

What a view of an image is depends on its own key alone: neither on the rest of
the batch, nor on how the batch is spread over devices.

Reference: Caron et al. 2020 (SwAV, multi-crop) and 2021; the released code of
DINO (DataAugmentationDINO).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key, PRNGKeyArray, Shaped

from visual_memory.data import crops
from visual_memory.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from visual_memory.pretraining import colors
from visual_memory.types import Array

RATIO = (3 / 4, 4 / 3)
"""Width over height of a crop."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewSettings:
  """How views are made.

  Attributes:
    global_size: S, side of the global views in pixels.
    local_size: s, side of the local views.
    num_local: L; there are always two global views.
    global_scale: least and greatest share of the image in a global view.
    local_scale: likewise for local views.
    flip: probability of mirroring.
    jitter: probability of a color jitter.
    strengths: of its brightness, contrast, saturation and hue.
    gray: probability of losing all color.
    blur: probability of a blur in the first global, the second global and the
      local views.
    blur_radius: least and greatest standard deviation of the blur, in pixels.
    solarize: probability of solarization, in the second global view alone.
  """

  global_size: int
  local_size: int
  num_local: int
  global_scale: tuple[float, float]
  local_scale: tuple[float, float]
  flip: float
  jitter: float
  strengths: tuple[float, float, float, float]
  gray: float
  blur: tuple[float, float, float]
  blur_radius: tuple[float, float]
  solarize: float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
  """Normalized views of B images.

  Attributes:
    globals: [2, B, S, S, 3].
    locals: [L, B, s, s, 3], or None if L = 0.
  """

  globals: Float[Array, "2 B S S 3"]
  locals: Float[Array, "L B s s 3"] | None


def make_views(
  keys: Key[jax.Array, "B"],
  images: Shaped[Array, "B H H 3"],
  settings: ViewSettings,
  *,
  aspects: Float[Array, "B"] | None = None,
) -> Views:
  """All views of a batch.

  Args:
    keys: one typed key for each image, [B].
    images: square, uint8, or float in [0, 1].
    settings: which views.
    aspects: width over height of the pictures that were squeezed to squares;
      views are cropped as from them. Square if None.
  """
  if aspects is None:
    aspects = jnp.ones(len(images))
  if images.dtype == jnp.uint8:
    images = images.astype(jnp.float32) / 255
  make = functools.partial(_one_view, settings=settings)

  def views(first: int, count: int, **how) -> Float[jax.Array, "count B S S 3"]:
    one = jax.vmap(functools.partial(make, **how))
    numbers = range(first, first + count)
    return jnp.stack(
      [one(jax.vmap(jax.random.fold_in, (0, None))(keys, n), images, aspects)
       for n in numbers]
    )  # fmt: skip

  wide = {"size": settings.global_size, "scale": settings.global_scale}
  near = {"size": settings.local_size, "scale": settings.local_scale}
  both = [
    views(0, 1, **wide, blur=settings.blur[0], solarize=0.0),
    views(1, 1, **wide, blur=settings.blur[1], solarize=settings.solarize),
  ]
  return Views(
    globals=jnp.concatenate(both),
    locals=views(
      2, settings.num_local, **near, blur=settings.blur[2], solarize=0.0
    )
    if settings.num_local
    else None,
  )


def _one_view(
  key: PRNGKeyArray,
  image: Float[Array, "H H 3"],
  aspect: Float[Array, ""],
  *,
  settings: ViewSettings,
  size: int,
  scale: tuple[float, float],
  blur: float,
  solarize: float,
) -> Float[jax.Array, "S S 3"]:
  """One view of one image: crop, mirror, colors, blur, normalization."""
  box_key, jitter_key, coin_key, blur_key = jax.random.split(key, 4)
  coins = jax.random.uniform(coin_key, (5,))
  # A ratio in the picture is another one in the square it was squeezed to.
  ratio = tuple(side / aspect for side in RATIO)
  box = crops.random_box(box_key, *image.shape[:2], scale=scale, ratio=ratio)
  view = crops.resized_crop(
    image, box, size=size, kernel="cubic", rounded=False
  )
  view = jnp.clip(view, 0.0, 1.0)
  view = jnp.where(coins[0] < settings.flip, view[:, ::-1], view)
  changed = colors.jitter(jitter_key, view, strengths=settings.strengths)
  view = jnp.where(coins[1] < settings.jitter, changed, view)
  view = jnp.where(coins[2] < settings.gray, colors.gray(view), view)
  if blur:
    low, high = settings.blur_radius
    deviation = jax.random.uniform(blur_key, (), minval=low, maxval=high)
    blurred = colors.blur(view, deviation, most=high)
    view = jnp.where(coins[3] < blur, blurred, view)
  if solarize:
    view = jnp.where(coins[4] < solarize, colors.solarize(view), view)
  mean, std = jnp.asarray(IMAGENET_MEAN), jnp.asarray(IMAGENET_STD)
  return (view - mean[None, None]) / std[None, None]
