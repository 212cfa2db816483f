"""The text tower of CLIP or SigLIP: rows of token ids to embeddings.

  config = catalog.MODELS["clip_vitb16"].text
  params = init(config, seed=0)                      # or published
  embeddings = forward(params, tokens, config=config)    # float32 [B, dim]

CLIP's attention is causal and a text is read off at its end mark, so whatever
follows the mark has no influence: rows may be cut behind the last end mark,
exactly. SigLIP's tokens see each other, padding included, and a text is read at
the last of all positions: its rows are always whole.

Reference: Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision" (ICML 2021), section 2.4; OpenAI CLIP, clip/model.py.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float, Int

from visual_memory.encoders.layers import LayerNorm, Linear, abstract, drawn
from visual_memory.encoders.settings import PRECISIONS, TextConfig
from visual_memory.encoders.transformer import Block
from visual_memory.types import Array

_INITIAL_TEMPERATURE = 0.07
_INITIAL_BIAS = -10.0


class TextTower(nnx.Module):
  """The text transformer; `forward` is the same as a pure function."""

  def __init__(self, config: TextConfig, *, rngs: nnx.Rngs):
    """Random weights; the temperature CLIP's training began with."""
    table, positions = config.vocabulary_size, config.context_length
    self.token_embedding = nnx.Param(
      drawn(rngs.params(), table, config.width, cut=False)
    )
    places = (positions, config.width)
    self.position_embedding = nnx.Param(
      drawn(rngs.params(), *places, deviation=0.01, cut=False)
    )
    self.blocks = nnx.List(
      Block(
        config.width,
        num_heads=config.num_heads,
        mlp_dim=config.mlp_dim or 4 * config.width,
        act=config.act,
        eps=config.eps,
        rngs=rngs,
      )
      for _ in range(config.depth)
    )
    self.norm = LayerNorm(config.width, eps=config.eps)
    self.config = config
    self.projection = Linear(
      config.width, config.dim, bias=config.projection_bias, rngs=rngs
    )
    self.logit_scale = nnx.Param(jnp.float32(-math.log(_INITIAL_TEMPERATURE)))
    self.logit_bias = (
      nnx.Param(jnp.float32(_INITIAL_BIAS)) if config.logit_bias else None
    )

  def __call__(
    self, tokens: Int[Array, "B T"], *, precision: str = "float32"
  ) -> Float[jax.Array, "B D"]:
    """The embeddings of a batch of texts; see `forward`."""
    rows, length = tokens.shape
    x = (
      self.token_embedding[...][tokens]
      + self.position_embedding[...][None, :length]
    )
    for block in self.blocks:
      x, _ = block(x, causal=self.config.causal, precision=precision)
    # The first end mark; LayerNorm sees each token alone, so one is enough.
    if self.config.causal:
      x = x[jnp.arange(rows), jnp.argmax(tokens, axis=1)]
    else:
      x = x[:, -1]
    x = self.norm(x)
    return self.projection(x, precision=precision)


def forward(
  params: Any,
  tokens: Int[Array, "B T"],
  *,
  config: TextConfig,
  precision: str = "float32",
) -> Float[jax.Array, "B D"]:
  """The embeddings of a batch of texts: pure, to be called in a jit.

  Args:
    params: as `init` or a loader gives them.
    tokens: ids below config.vocabulary_size, at most config.context_length in
      a row, with an end mark (the largest id) in every row.
    config: the settings that the params belong to.
    precision: 'float32' or 'bfloat16'; see `layers`.

  Returns:
    float32 [B, dim], not normalized.

  Raises:
    ValueError: rows that are too long, or an unknown precision.
  """
  check_precision(precision)
  if tokens.shape[1] > config.context_length:
    raise ValueError(
      f"Rows of {tokens.shape[1]} tokens were given; the tower has positions"
      f" for {config.context_length}."
    )
  return nnx.merge(_abstract(config)[0], params)(tokens, precision=precision)


def check_precision(precision: str) -> None:
  """Raises ValueError unless `forward` knows this precision."""
  if precision not in PRECISIONS:
    raise ValueError(f"Unknown precision {precision!r}; known: {PRECISIONS}.")


def init(config: TextConfig, *, seed: int) -> dict[str, Any]:
  """Random params: a nested dict of float32 arrays."""
  return nnx.to_pure_dict(nnx.state(TextTower(config, rngs=nnx.Rngs(seed))))


def shapes(config: TextConfig) -> dict[str, Any]:
  """The params' tree with a jax.ShapeDtypeStruct in place of each array."""
  return nnx.to_pure_dict(_abstract(config)[1])


@functools.cache
def _abstract(config: TextConfig) -> tuple[nnx.GraphDef, nnx.State]:
  """The module's structure, traced once per config, with no arrays made."""
  return abstract(lambda rngs: TextTower(config, rngs=rngs))
