"""What an encoder is made of, and the parts of a vision transformer.

The transformer itself is imported where it is used: it brings Flax with it,
which other encoders, and whoever only lists them, need not wait for.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32

from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders.outputs import POOLINGS, unit_rows
from visual_memory.encoders.published import params as params_lib
from visual_memory.encoders.settings import ResNetConfig, ViTConfig
from visual_memory.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
  """An encoder before it has a name and a fingerprint.

  Attributes:
    params: the weights, a pytree of arrays.
    apply: hashable pure function (params, pixels [B, S, S, 3]) -> [B, D].
    preprocess: makes the pixels.
    weights_fingerprint: identifies weights and architecture by value.
    apply_patches: as `apply`, but one row per patch, [B, P, E].
    grid: (rows, columns) of those patches.
    patches_form: tells apart what one encoder can give for its patches.
    name: what it is, where that is not the name by which it was asked for.
  """

  params: Any
  apply: Callable[..., jax.Array]
  preprocess: Preprocess
  weights_fingerprint: str
  apply_patches: Callable[..., jax.Array] | None = None
  grid: tuple[int, int] | None = None
  patches_form: str = ""
  name: str = ""


@dataclasses.dataclass(frozen=True)
class MultiCrop:
  """The mean of the unit embeddings of several crops of each image.

  Crops are the middle and the corners of what is seen; mirrored, too, for ten.

  Reference: Krizhevsky et al., "ImageNet classification with deep convolutional
  neural networks" (2012), section 4.1, which averages predictions.

  Attributes:
    apply: of the encoder, for one crop.
    shape: height and width of a crop.
    crops: 5 or 10.
  """

  apply: Callable[..., jax.Array]
  shape: tuple[int, int]
  crops: int

  def __call__(
    self, params: Any, pixels: Float[Array, "B H W 3"]
  ) -> Float32[jax.Array, "B D"]:
    """The means, not normalized."""
    height, width = self.shape
    down, across = pixels.shape[1] - height, pixels.shape[2] - width
    corners = [(y, x) for y in (0, down) for x in (0, across)]
    seen = jnp.stack(
      [
        pixels[:, y : y + height, x : x + width]
        for y, x in [(down // 2, across // 2), *corners]
      ]
    )
    if self.crops == 10:
      seen = jnp.concatenate([seen, seen[:, :, :, ::-1]])
    rows = jax.lax.map(lambda crop: unit_rows(self.apply(params, crop)), seen)
    return jnp.mean(rows, axis=0)


def with_crops(parts: Parts, crops: int) -> Parts:
  """Parts whose embedding is the mean over crops; they have no patches.

  What is seen is an eighth larger than a crop, or as large as the resized
  image where that is more.
  """
  if crops == 1:
    return parts
  made = parts.preprocess
  resize = made.resize
  resized = resize if isinstance(resize, tuple) else (resize, resize)
  seen = tuple(
    max(old, round(side * 8 / 7))
    for old, side in zip(resized, made.shape, strict=True)
  )
  both = seen[0] if seen[0] == seen[1] else seen
  return dataclasses.replace(
    parts,
    apply=MultiCrop(parts.apply, made.shape, crops),
    preprocess=dataclasses.replace(made, resize=both, crop=both),
    weights_fingerprint=f"{parts.weights_fingerprint}, {crops} crops",
    apply_patches=None,
    grid=None,
  )


@dataclasses.dataclass(frozen=True)
class ViTApply:
  """The image embedding of a vision transformer; equal for equal settings."""

  config: ViTConfig
  precision: str
  pooling: str = "class"

  def __call__(self, params: Any, pixels: jax.Array) -> jax.Array:
    """Embeddings [B, D], not normalized."""
    from visual_memory.encoders import vit

    outputs = vit.forward(
      params,
      pixels,
      config=self.config,
      precision=self.precision,
      patches=self.pooling != "class",
    )
    return POOLINGS[self.pooling](outputs)


@dataclasses.dataclass(frozen=True)
class ViTPatches:
  """The patch tokens of a vision transformer, after the final LayerNorm.

  Those of several blocks lie side by side.
  """

  config: ViTConfig
  precision: str
  layers: tuple[int, ...] = ()

  def __call__(self, params: Any, pixels: jax.Array) -> jax.Array:
    """Patch tokens row by row [B, P, D], not normalized."""
    from visual_memory.encoders import vit

    outputs = vit.forward(
      params,
      pixels,
      config=self.config,
      precision=self.precision,
      blocks=self.layers,
    )
    if not self.layers:
      return outputs.patch_tokens
    first = self.config.num_first
    parts = [outputs.blocks[layer][:, first:] for layer in self.layers]
    return jnp.concatenate(parts, axis=-1)


def vit_parts(
  params: Any,
  config: ViTConfig,
  *,
  preprocess: Preprocess,
  precision: str,
  pooling: str = "class",
  name: str = "",
  layers: tuple[int, ...] = (),
) -> Parts:
  """A vision transformer, prepared for the resolution of its preprocessing.

  Args:
    params: of the transformer, with the stored table of positions.
    config: their settings.
    preprocess: makes the pixels.
    precision: "float32" or "bfloat16".
    pooling: what the embedding is; a key of `outputs.POOLINGS`.
    name: what it is called; see `Parts`.
    layers: blocks whose patch tokens, side by side, are what a patch is; the
      last one's if there are none.

  Raises:
    ValueError: an unknown pooling, or a block that there is not.
  """
  check_pooling(pooling)
  for layer in layers:
    if not 0 <= layer < config.depth:
      raise ValueError(
        f"There is no block {layer} among layers={layers}; there are 0 to"
        f" {config.depth - 1}."
      )
  from visual_memory.encoders import vit

  grid = vit.grid_of(config, preprocess.shape)
  return Parts(
    name=name,
    params=vit.prepare(params, config, grid=grid, precision=precision),
    apply=ViTApply(config, precision, pooling),
    preprocess=preprocess,
    weights_fingerprint=weights_and(params, config, pooling),
    apply_patches=ViTPatches(config, precision, layers),
    grid=grid,
    patches_form="".join(f"-block{layer}" for layer in layers),
  )


def check_pooling(pooling: str) -> None:
  """Raises ValueError unless `outputs.POOLINGS` has this pooling."""
  if pooling not in POOLINGS:
    raise ValueError(
      f"pooling cannot be {pooling!r}; it can be: {', '.join(POOLINGS)}."
    )


def weights_and(
  params: Any, config: ViTConfig | ResNetConfig, pooling: str
) -> str:
  """Identifies every weight and every setting, by name and value."""
  settings = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(config)
    if getattr(config, field.name) != field.default
  }
  if pooling != "class":
    settings["pooling"] = pooling
  return f"{params_lib.fingerprint(params)} {sorted(settings.items())}"
