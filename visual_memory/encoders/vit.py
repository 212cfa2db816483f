"""One vision transformer, of which every image tower is a setting.

  config = settings.vit("vit_s", image_size=224, patch_size=14)
  params = init(config, seed=0)                 # or families' load
  params = prepare(params, config, grid=(16, 16))
  outputs = jax.jit(forward, static_argnames=("config", "precision"))(
    params, pixels, config=config, precision="float32"
  )
  outputs.embedding                             # float32 [B, embedding_dim]

Params are a plain nested dict of arrays, so they can be sharded, saved and
hashed without knowing flax.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from visual_memory.encoders.layers import PRECISIONS, LayerNorm, Linear
from visual_memory.encoders.patch_grid import (
  ConvStem,
  patch_grid,
  patchify,
  resample,
)
from visual_memory.encoders.settings import ViTConfig
from visual_memory.encoders.transformer import Block
from visual_memory.types import Array

_CACHE_BYTES = 8 << 20
"""What the hidden layer of a block may take up on a CPU (measured best of 2 to
32 MiB on a CPU with 32 MiB of last-level cache)."""

_normal = nnx.initializers.truncated_normal(stddev=0.02)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTOutputs:
  """What a vision transformer says about a batch of images, in float32.

  Attributes:
    embedding: the class token, projected where the model has a projection
      (CLIP), [B, E]. Not normalized.
    class_token: after the final LayerNorm, [B, D].
    patch_tokens: after the final LayerNorm, row by row, [B, P, D].
    register_tokens: after the final LayerNorm, [B, R, D]; R may be zero.
    blocks: for each block asked for, all its output tokens (class, registers,
      patches) after the final LayerNorm, [B, 1 + R + P, D].
    attention: for each block asked for, softmax weights [B, heads, T, T],
      T = 1 + R + P, where row t says what token t looks at.
  """

  embedding: Float[Array, "*B E"]
  class_token: Float[Array, "*B D"]
  patch_tokens: Float[Array, "*B P D"]
  register_tokens: Float[Array, "*B R D"]
  blocks: dict[int, jax.Array]
  attention: dict[int, jax.Array]


class ViT(nnx.Module):
  """A vision transformer; `forward` is the same as a pure function."""

  def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs):
    """Random weights: truncated normal of deviation 0.02."""
    dim, patch = config.dim, config.patch_size
    self.config = config
    self.stem = (
      ConvStem(config.stem, eps=config.eps, rngs=rngs) if config.stem else None
    )
    channels = config.stem[-1] if config.stem else 3
    values = channels * (patch >> len(config.stem)) ** 2
    self.patch_embed = Linear(values, dim, bias=config.patch_bias, rngs=rngs)
    self.class_token = nnx.Param(_normal(rngs.params(), (dim,)))
    self.class_position = nnx.Param(_normal(rngs.params(), (dim,)))
    self.patch_position = nnx.Param(
      _normal(rngs.params(), (config.grid, config.grid, dim))
    )
    registers = (config.num_registers, dim)
    self.registers = (
      nnx.Param(_normal(rngs.params(), registers)) if registers[0] else None
    )
    self.norm_pre = LayerNorm(dim, eps=config.eps) if config.ln_pre else None
    self.blocks = nnx.List(
      Block(
        dim,
        num_heads=config.num_heads,
        mlp_dim=config.mlp_dim,
        act=config.act,
        ffn=config.ffn,
        layer_scale=config.layer_scale,
        eps=config.eps,
        rngs=rngs,
      )
      for _ in range(config.depth)
    )
    self.norm = LayerNorm(dim, eps=config.eps)
    self.projection = (
      Linear(dim, config.projection, bias=False, rngs=rngs)
      if config.projection
      else None
    )

  def __call__(
    self,
    pixels: Float[Array, "B H W 3"],
    *,
    precision: str = "float32",
    blocks: Sequence[int] = (),
    attention: Sequence[int] = (),
    branch_scales: Float[Array, "depth 2 B"] | None = None,
    remat: bool = False,
  ) -> ViTOutputs:
    """The tokens of a batch of normalized images; see `forward`.

    In training, branch_scales drop residual branches (see `Block`), and remat
    computes the inside of a block again in the backward pass, to save memory.
    """
    tokens = self.embed(pixels, precision=precision)
    if self.norm_pre is not None:
      tokens = self.norm_pre(tokens)
    states, maps = {}, {}
    for index, block in enumerate(self.blocks):
      run = functools.partial(
        block,
        precision=precision,
        maps=index in attention,
        branch_scales=None if branch_scales is None else branch_scales[index],
      )
      tokens, weights = (jax.checkpoint(run) if remat else run)(tokens)
      if index in blocks:
        states[index] = self.norm(tokens)
      if weights is not None:
        maps[index] = weights
    tokens = self.norm(tokens)
    first_patch = 1 + self.config.num_registers
    class_token = tokens[:, 0]
    return ViTOutputs(
      embedding=class_token
      if self.projection is None
      else self.projection(class_token, precision=precision),
      class_token=class_token,
      register_tokens=tokens[:, 1:first_patch],
      patch_tokens=tokens[:, first_patch:],
      blocks=states,
      attention=maps,
    )

  def embed(
    self, pixels: Float[Array, "B H W 3"], *, precision: str
  ) -> Float[jax.Array, "B T D"]:
    """Class token, registers and patches, with their positions."""
    config = self.config
    grid = patch_grid(pixels.shape[1:3], config.patch_size)
    batch = pixels.shape[0]
    if self.stem is not None:
      pixels = self.stem(pixels, precision=precision)
    patches = self.patch_embed(
      patchify(pixels, config.patch_size >> len(config.stem)),
      precision=precision,
    )
    table = self.patch_position[...]
    if table.shape[:2] != grid:
      _check_native(table, config, grid)
      table = resample(table, grid, rule=config.position_rule)
    patches = patches + table.reshape(1, -1, config.dim)
    first = (self.class_token[...] + self.class_position[...])[None]
    if self.registers is not None:  # They carry no position.
      first = jnp.concatenate([first, self.registers[...]])
    first = jnp.broadcast_to(first, (batch, *first.shape))
    return jnp.concatenate([first, patches], axis=1)


def class_token(outputs: ViTOutputs) -> jax.Array:
  """The class token (projected, where the model has a projection), [B, E]."""
  return outputs.embedding


def mean_patch(outputs: ViTOutputs) -> jax.Array:
  """The mean of the patch tokens, [B, D]."""
  return jnp.mean(outputs.patch_tokens, axis=1)


def class_and_mean(outputs: ViTOutputs) -> jax.Array:
  """Class token and mean patch token side by side, [B, E + D]."""
  return jnp.concatenate([class_token(outputs), mean_patch(outputs)], axis=-1)


POOLINGS: dict[str, Callable[[ViTOutputs], jax.Array]] = {
  "class": class_token,
  "mean": mean_patch,
  "class_and_mean": class_and_mean,
}
"""Ways to pool, by the name that recipes and cards use."""


def forward(
  params: Any,
  pixels: Float[Array, "B H W 3"],
  *,
  config: ViTConfig,
  precision: str = "float32",
  blocks: tuple[int, ...] = (),
  attention: tuple[int, ...] = (),
) -> ViTOutputs:
  """The tokens of a batch of images: a pure function, to be called in a jit.

  On a CPU the batch is processed a few images at a time (`images_at_once`).
  Training should call the module instead, and keep its batch whole.

  Args:
    params: as `init`, `pretrained.load` or `prepare` give them.
    pixels: normalized float32 images whose sides are multiples of patch_size.
    config: the settings that the params belong to.
    precision: 'float32' or 'bfloat16'.
    blocks: indices of the blocks whose tokens are also wanted.
    attention: indices of the blocks whose attention maps are wanted.

  Raises:
    ValueError: sides that are not whole patches, unknown precision, block
      indices out of range, or params prepared for another resolution.
  """
  if precision not in PRECISIONS:
    raise ValueError(f"Unknown precision {precision!r}; known: {PRECISIONS}.")
  for index in (*blocks, *attention):
    if not 0 <= index < config.depth:
      raise ValueError(
        f"Block {index} was asked for; there are blocks 0 to"
        f" {config.depth - 1}."
      )
  model = module(params, config)
  run = functools.partial(
    model, precision=precision, blocks=blocks, attention=attention
  )
  batch = pixels.shape[0]
  at_once = images_at_once(config, pixels.shape)
  if at_once == batch:
    return run(pixels)
  groups = pixels.reshape(batch // at_once, at_once, *pixels.shape[1:])
  outputs = jax.lax.map(run, groups)
  return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), outputs)


def init(config: ViTConfig, *, seed: int) -> dict[str, Any]:
  """Random params: a nested dict of float32 arrays."""
  return nnx.to_pure_dict(nnx.state(ViT(config, rngs=nnx.Rngs(seed))))


def module(params: Any, config: ViTConfig) -> ViT:
  """The module with these params, to look inside; `forward` is for the rest."""
  return nnx.merge(_abstract(config)[0], params)


def shapes(config: ViTConfig) -> dict[str, Any]:
  """The params' tree with a jax.ShapeDtypeStruct in place of each array."""
  return nnx.to_pure_dict(_abstract(config)[1])


def prepare(
  params: Any,
  config: ViTConfig,
  *,
  grid: tuple[int, int],
  precision: str = "float32",
) -> dict[str, Any]:
  """Params made ready for one resolution and precision, once.

  Args:
    params: params with the stored table of position embeddings.
    config: their settings.
    grid: (rows, columns) of patches. Only images of this grid can be given to
      `forward` with the result.
    precision: 'bfloat16' also stores the kernels in bfloat16.
  """
  params = dict(params)
  params["patch_position"] = resample(
    params["patch_position"], grid, rule=config.position_rule
  )
  if precision == "bfloat16":
    params = jax.tree_util.tree_map_with_path(_half_kernel, params)
  return jax.tree.map(jnp.asarray, params)


def images_at_once(config: ViTConfig, shape: tuple[int, ...]) -> int:
  """How many images of a batch [B, H, W, 3] are processed together.

  On a CPU so many that the widest activations stay in cache, which makes a
  batch of 16 through ViT-S/14 1.6 times as fast as all at once; elsewhere all.
  """
  batch, height, width, _ = shape
  if jax.default_backend() != "cpu":
    return batch
  rows, columns = patch_grid((height, width), config.patch_size)
  tokens = 1 + config.num_registers + rows * columns
  wanted = max(1, _CACHE_BYTES // (4 * tokens * config.mlp_dim))
  return max(n for n in range(1, wanted + 1) if batch % n == 0)


def _check_native(
  table: jax.Array, config: ViTConfig, grid: tuple[int, int]
) -> None:
  if table.shape[:2] != (config.grid, config.grid):
    raise ValueError(
      f"These params were prepared for {table.shape[0]}x{table.shape[1]}"
      f" patches, and the images have {grid[0]}x{grid[1]}: prepare the loaded"
      " params for this resolution instead."
    )


def _half_kernel(path: tuple, leaf: Array) -> Array:
  return leaf.astype(jnp.bfloat16) if path[-1].key == "kernel" else leaf


@functools.cache
def _abstract(config: ViTConfig) -> tuple[nnx.GraphDef, nnx.State]:
  """The module's structure, traced once per config, with no arrays made."""
  return nnx.split(nnx.eval_shape(lambda: ViT(config, rngs=nnx.Rngs(0))))
