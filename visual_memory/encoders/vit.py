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

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from visual_memory.encoders.layers import (
  LayerNorm,
  Linear,
  abstract,
  drawn,
  in_groups,
  stored,
)
from visual_memory.encoders.outputs import ViTOutputs
from visual_memory.encoders.patch_grid import (
  patch_grid,
  patchify,
  resample,
  rotations,
)
from visual_memory.encoders.settings import PRECISIONS, ViTConfig
from visual_memory.encoders.stem import ConvStem
from visual_memory.encoders.transformer import AttentionPool, Block
from visual_memory.types import Array

_CACHE_BYTES = 8 << 20
"""What the hidden layer of a block may take up on a CPU (measured best of 2 to
32 MiB on a CPU with 32 MiB of last-level cache)."""


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

    def table(*shape: int) -> nnx.Param:
      return nnx.Param(drawn(rngs.params(), *shape, dim))

    has_table = not config.rope
    with_class = config.class_token
    self.class_token = table() if with_class else None
    self.class_position = table() if with_class and has_table else None
    self.patch_position = table(config.grid, config.grid) if has_table else None
    registers = (config.num_registers, dim)
    self.registers = (
      nnx.Param(drawn(rngs.params(), *registers)) if registers[0] else None
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
        qkv_bias=config.qkv_bias,
        rngs=rngs,
      )
      for _ in range(config.depth)
    )
    self.norm = LayerNorm(dim, eps=config.eps)
    self.pool = (
      AttentionPool(
        dim,
        num_heads=config.num_heads,
        mlp_dim=config.mlp_dim,
        act=config.act,
        eps=config.eps,
        rngs=rngs,
      )
      if config.pool == "map"
      else None
    )
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
    patches: bool = True,
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
    turns = self.rotations(pixels.shape[1:3])
    states, maps = {}, {}
    last = self.config.depth - 1
    only_first = self.config.pool == "class" and not patches
    if only_first and last not in (*blocks, *attention):
      queries = {last: self.config.num_first}
    else:
      queries = {}
    for index, block in enumerate(self.blocks):
      run = functools.partial(
        block,
        precision=precision,
        maps=index in attention,
        branch_scales=None if branch_scales is None else branch_scales[index],
        turns=turns,
        queries=queries.get(index),
      )
      tokens, weights = (jax.checkpoint(run) if remat else run)(tokens)
      if index in blocks:
        states[index] = self.norm(tokens)
      if weights is not None:
        maps[index] = weights
    tokens = self.norm(tokens)
    first_patch = self.config.num_first
    patch_tokens = tokens[:, first_patch:]
    if self.pool is not None:
      pooled = self.pool(tokens, precision=precision)
    elif self.config.pool == "mean":
      pooled = jnp.mean(patch_tokens, axis=1)
    else:
      pooled = tokens[:, 0]
    return ViTOutputs(
      embedding=pooled
      if self.projection is None
      else self.projection(pooled, precision=precision),
      class_token=tokens[:, 0] if self.config.class_token else pooled,
      register_tokens=tokens[:, int(self.config.class_token) : first_patch],
      patch_tokens=patch_tokens,
      blocks=states,
      attention=maps,
    )

  def rotations(self, size: tuple[int, int]) -> np.ndarray | None:
    """How queries and keys of images of this size are turned, or None."""
    config = self.config
    if not config.rope:
      return None
    return rotations(
      grid_of(config, size),
      head_dim=config.dim // config.num_heads,
      num_first=config.num_first,
    )

  def embed(
    self, pixels: Float[Array, "B H W 3"], *, precision: str
  ) -> Float[jax.Array, "B T D"]:
    """Class token, registers and patches, with their positions."""
    config = self.config
    grid = grid_of(config, pixels.shape[1:3])
    rows, columns = (n * config.patch_size for n in grid)
    batch, pixels = pixels.shape[0], pixels[:, :rows, :columns]
    if self.stem is not None:
      pixels = self.stem(pixels, precision=precision)
    patches = self.patch_embed(
      patchify(pixels, config.patch_size >> len(config.stem)),
      precision=precision,
    )
    if self.patch_position is not None:
      table = self.patch_position[...]
      if table.shape[:2] != grid:
        _check_native(table, config, grid)
        table = resample(table, grid, rule=config.position_rule)
      patches = patches + table.reshape(1, -1, config.dim)
    first = []
    if self.class_token is not None:
      token = self.class_token[...]
      if self.class_position is not None:
        token = token + self.class_position[...]
      first.append(token[None])
    if self.registers is not None:  # They carry no position.
      first.append(self.registers[...])
    first = [jnp.broadcast_to(part, (batch, *part.shape)) for part in first]
    return jnp.concatenate([*first, patches], axis=1)


def forward(
  params: Any,
  pixels: Float[Array, "B H W 3"],
  *,
  config: ViTConfig,
  precision: str = "float32",
  blocks: tuple[int, ...] = (),
  attention: tuple[int, ...] = (),
  patches: bool = True,
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
    patches: whether patch tokens are wanted. Where they are not, and the model
      does not pool them, the last block computes none: an embedding takes 7 %
      less of the products of 12 blocks.

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
    model,
    precision=precision,
    blocks=blocks,
    attention=attention,
    patches=patches,
  )
  at_once = images_at_once(config, pixels.shape)
  return in_groups(run, pixels, at_once=at_once)


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
    precision: other than 'float32', it is that of the stored kernels, too.
  """
  params = dict(params)
  if not config.rope:
    params["patch_position"] = resample(
      params["patch_position"], grid, rule=config.position_rule
    )
  return stored(params, precision=precision)


def grid_of(config: ViTConfig, size: tuple[int, int]) -> tuple[int, int]:
  """Rows and columns of patches of images of (height, width) pixels.

  Raises:
    ValueError: the sides are not whole patches, and must be.
  """
  patch = config.patch_size
  if config.ragged:
    size = tuple(max(patch, side // patch * patch) for side in size)
  return patch_grid(size, patch)


def images_at_once(config: ViTConfig, shape: tuple[int, ...]) -> int:
  """How many images of a batch [B, H, W, 3] are processed together.

  On a CPU so many that the widest activations stay in cache, which makes a
  batch of 16 through ViT-S/14 1.6 times as fast as all at once; elsewhere all.
  """
  batch, height, width, _ = shape
  if jax.default_backend() != "cpu":
    return batch
  rows, columns = grid_of(config, (height, width))
  tokens = config.num_first + rows * columns
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


@functools.cache
def _abstract(config: ViTConfig) -> tuple[nnx.GraphDef, nnx.State]:
  """The module's structure, traced once per config, with no arrays made."""
  return abstract(lambda rngs: ViT(config, rngs=rngs))
