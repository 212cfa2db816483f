"""CLIP's ResNet: convolutions, and an average that attends to their grid.

  config = catalog.MODELS["clip_rn50"].image
  params = init(config, seed=0)                  # or families' load
  outputs = jax.jit(forward, static_argnames=("config", "precision"))(
    params, pixels, config=config, precision="float32"
  )
  outputs.embedding                              # float32 [B, embedding_dim]
  outputs.patch_tokens                           # the grid before the pool

Three convolutions and an average pool begin it; no convolution of a block is
strided, an average pool stands in its place; the grid's mean is the one query
of an attention over the grid. Batch normalization is by stored statistics.

References: Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision" (ICML 2021), section 2.4; He et al., "Bag of tricks" (CVPR
2019); Zhang, "Making convolutional networks shift-invariant again" (ICML 2019).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders.layers import (
  abstract,
  dot,
  drawn,
  in_groups,
  row,
  stored,
)
from visual_memory.encoders.outputs import POOLINGS, ViTOutputs
from visual_memory.encoders.parts import Parts, check_pooling, weights_and
from visual_memory.encoders.settings import PRECISIONS, ResNetConfig
from visual_memory.encoders.transformer import Attention
from visual_memory.types import Array

_AT_ONCE = 4
"""Images that a CPU processes together: the widest activations of four take
13 MB in RN50, which its cache holds."""


class Conv(nnx.Module):
  """A convolution at every place, zeros around, and its batch normalization."""

  def __init__(
    self, side: int, sources: int, targets: int, *, eps: float, rngs: nnx.Rngs
  ):
    """Kernel of deviation sqrt(2 / inputs); statistics of standard values."""
    shape = (side, side, sources, targets)
    deviation = (2 / (side * side * sources)) ** 0.5
    self.kernel = nnx.Param(drawn(rngs.params(), *shape, deviation=deviation))
    self.scale = nnx.Param(jnp.ones(targets))
    self.bias = nnx.Param(jnp.zeros(targets))
    self.mean = nnx.BatchStat(jnp.zeros(targets))
    self.variance = nnx.BatchStat(jnp.ones(targets))
    self.eps = eps

  def __call__(
    self, x: Float[Array, "B H W i"], *, precision: str, stride: int = 1
  ) -> Float[jax.Array, "B h w o"]:
    """The normalized channels, in float32."""
    y = _convolved(x, self.kernel[...], stride=stride, precision=precision)
    scale = self.scale[...] * jax.lax.rsqrt(self.variance[...] + self.eps)
    shift = self.bias[...] - self.mean[...] * scale
    return y * row(scale, 4) + row(shift, 4)


class Bottleneck(nnx.Module):
  """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut."""

  def __init__(
    self, sources: int, width: int, *, halves: bool, eps: float, rngs: nnx.Rngs
  ):
    """halves: whether both sides of the grid are halved."""
    conv = functools.partial(Conv, eps=eps, rngs=rngs)
    self.conv1 = conv(1, sources, width)
    self.conv2 = conv(3, width, width)
    self.conv3 = conv(1, width, 4 * width)
    changes = halves or sources != 4 * width
    self.shortcut = conv(1, sources, 4 * width) if changes else None
    self.halves = halves

  def __call__(
    self, x: Float[Array, "B H W i"], *, precision: str
  ) -> Float[jax.Array, "B h w o"]:
    """The channels after the block."""
    y = jax.nn.relu(self.conv1(x, precision=precision))
    y = jax.nn.relu(self.conv2(y, precision=precision))
    if self.halves:
      x, y = _halved(x), _halved(y)
    y = self.conv3(y, precision=precision)
    if self.shortcut is not None:
      x = self.shortcut(x, precision=precision)
    return jax.nn.relu(y + x)


class Stage(nnx.Module):
  """Blocks of one width, the first of which may halve the grid."""

  def __init__(self, depth: int, sources: int, width: int, **options: Any):
    """options are those of a Bottleneck."""
    halves = options.pop("halves")
    self.blocks = nnx.List(
      Bottleneck(
        4 * width if i else sources, width, halves=halves and not i, **options
      )
      for i in range(depth)
    )


class ResNet(nnx.Module):
  """A ResNet of CLIP's; `forward` is the same as a pure function."""

  def __init__(self, config: ResNetConfig, *, rngs: nnx.Rngs):
    """Random weights."""
    width, dim, given = config.width, config.dim, {"eps": config.eps}
    half = width // 2
    self.conv1 = Conv(3, 3, half, **given, rngs=rngs)
    self.conv2 = Conv(3, half, half, **given, rngs=rngs)
    self.conv3 = Conv(3, half, width, **given, rngs=rngs)
    sources = (width, 4 * width, 8 * width, 16 * width)
    self.stages = nnx.List(
      Stage(depth, sources[i], width << i, halves=i > 0, **given, rngs=rngs)
      for i, depth in enumerate(config.layers)
    )
    self.positions = nnx.Param(
      drawn(rngs.params(), 1 + config.grid**2, dim, deviation=dim**-0.5)
    )
    self.pool = Attention(
      dim, num_heads=config.num_heads, out_dim=config.projection, rngs=rngs
    )

  def __call__(
    self, pixels: Float[Array, "B H W 3"], *, precision: str = "float32"
  ) -> ViTOutputs:
    """What it says of a batch of normalized images; see `forward`."""
    x = jax.nn.relu(self.conv1(pixels, precision=precision, stride=2))
    x = jax.nn.relu(self.conv2(x, precision=precision))
    x = _halved(jax.nn.relu(self.conv3(x, precision=precision)))
    for stage in self.stages:
      for block in stage.blocks:
        x = block(x, precision=precision)
    grid = x.reshape(x.shape[0], -1, x.shape[-1])
    mean = grid.mean(axis=1)
    tokens = jnp.concatenate([mean[:, None], grid], axis=1)
    pooled, _ = self.pool(
      tokens + self.positions[...][None],
      causal=False,
      precision=precision,
      maps=False,
      queries=1,
    )
    return ViTOutputs(
      embedding=pooled[:, 0],
      class_token=mean,
      patch_tokens=grid,
      register_tokens=grid[:, :0],
      blocks={},
      attention={},
    )


def _convolved(
  x: Float[Array, "B H W i"],
  kernel: Float[Array, "k k i o"],
  *,
  stride: int,
  precision: str,
) -> Float[jax.Array, "B h w o"]:
  """A convolution of side 1 or 3, in float32; see `layers` for precisions."""
  if kernel.shape[0] == 1:
    last = (((3,), (0,)), ((), ()))
    return dot(x, kernel[0, 0], last, precision=precision, hidden=True)
  convolve = functools.partial(
    jax.lax.conv_general_dilated,
    window_strides=(stride, stride),
    padding=((1, 1), (1, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  if precision == "float32":
    return convolve(x, kernel, precision=jax.lax.Precision.HIGHEST)
  halves = x.astype(precision), kernel.astype(precision)
  return convolve(*halves).astype(jnp.float32)


def _halved(x: Float[Array, "B H W C"]) -> Float[jax.Array, "B h w C"]:
  """The means of 2 x 2 places."""
  sums = x[:, ::2] + x[:, 1::2]
  return (sums[:, :, ::2] + sums[:, :, 1::2]) * 0.25


def forward(
  params: Any,
  pixels: Float[Array, "B S S 3"],
  *,
  config: ResNetConfig,
  precision: str = "float32",
) -> ViTOutputs:
  """The grid and the embedding of a batch of images: pure, for use in a jit.

  On a CPU the batch is processed a few images at a time.

  Args:
    params: as `init` or a loader gives them.
    pixels: normalized float32 images of config.image_size.
    config: the settings that the params belong to.
    precision: 'float32', 'bfloat16' or 'float16'; see `layers`.

  Raises:
    ValueError: images of another size, or an unknown precision.
  """
  if precision not in PRECISIONS:
    raise ValueError(f"Unknown precision {precision!r}; known: {PRECISIONS}.")
  _check_size(config, pixels.shape[1:3])
  run = functools.partial(module(params, config), precision=precision)
  return in_groups(run, pixels, at_once=_AT_ONCE)


def init(config: ResNetConfig, *, seed: int) -> dict[str, Any]:
  """Random params: a nested dict of float32 arrays."""
  return nnx.to_pure_dict(nnx.state(ResNet(config, rngs=nnx.Rngs(seed))))


def module(params: Any, config: ResNetConfig) -> ResNet:
  """The module with these params, to train further."""
  return nnx.merge(_abstract(config)[0], params)


def shapes(config: ResNetConfig) -> dict[str, Any]:
  """The params' tree with a jax.ShapeDtypeStruct in place of each array."""
  return nnx.to_pure_dict(_abstract(config)[1])


@dataclasses.dataclass(frozen=True)
class ResNetApply:
  """The image embedding of a ResNet; equal for equal settings."""

  config: ResNetConfig
  precision: str
  pooling: str = "class"

  def __call__(self, params: Any, pixels: jax.Array) -> jax.Array:
    """Embeddings [B, D], not normalized."""
    return POOLINGS[self.pooling](
      forward(params, pixels, config=self.config, precision=self.precision)
    )


@dataclasses.dataclass(frozen=True)
class ResNetPatches:
  """The grid before the pool."""

  config: ResNetConfig
  precision: str

  def __call__(self, params: Any, pixels: jax.Array) -> jax.Array:
    """Places row by row [B, P, 32 * width], not normalized."""
    return forward(
      params, pixels, config=self.config, precision=self.precision
    ).patch_tokens


def resnet_parts(
  params: Any,
  config: ResNetConfig,
  *,
  preprocess: Preprocess,
  precision: str,
  pooling: str = "class",
  name: str = "",
  layers: tuple[int, ...] = (),
) -> Parts:
  """A ResNet, ready to be an encoder; arguments as those of `vit_parts`.

  Raises:
    ValueError: an unknown pooling, pixels of another size, or layers, of which
      it offers none.
  """
  check_pooling(pooling)
  _check_size(config, preprocess.shape)
  if layers:
    raise ValueError(
      f"A ResNet has no layers of tokens to choose by layers={layers}: its"
      f" patches are the {config.grid} x {config.grid} places before its pool."
    )
  return Parts(
    name=name,
    params=stored(params, precision=precision),
    apply=ResNetApply(config, precision, pooling),
    preprocess=preprocess,
    weights_fingerprint=weights_and(params, config, pooling),
    apply_patches=ResNetPatches(config, precision),
    grid=(config.grid, config.grid),
  )


def _check_size(config: ResNetConfig, size: tuple[int, int]) -> None:
  side = config.image_size
  if tuple(size) != (side, side):
    raise ValueError(
      f"Images of {size[0]} x {size[1]} pixels were given to a ResNet that sees"
      f" {side} x {side} alone: its pool has positions for a grid of"
      f" {config.grid} x {config.grid} places."
    )


@functools.cache
def _abstract(config: ResNetConfig) -> tuple[nnx.GraphDef, nnx.State]:
  """The module's structure, traced once per config, with no arrays made."""
  return abstract(lambda rngs: ResNet(config, rngs=rngs))
