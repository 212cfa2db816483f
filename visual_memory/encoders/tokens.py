"""What a vision transformer sees inside: tokens and attention of its blocks.

  outputs = tokens_of(encoder, images, blocks=(8, 11), attention=(11,))
  outputs.blocks[8]                 # float32 [B, T, D]
  outputs.attention[11]             # float32 [B, heads, T, T]
  encoder.grid                      # rows and columns of the patches among T

`apply` and the module with its weights, to train further:

  module = vit.module(encoder.params, encoder.apply.config)    # a flax module
  module(pixels).embedding

The tokens that DINOv2's linear probes read, as an encoder of their own:

  wide = probe_encoder(encoder)                     # dim: (4 + 1) * D
  rows = embed(wide, source).embeddings
  probe_inputs(wide)["last 4 blocks, with patches"]  # bool mask of columns

The published grid reads the class tokens of the last block or of the last four,
without or with the mean of the patch tokens: four choices of columns of one
row, which holds the four class tokens (last block last) and the patches' mean.
An encoder without blocks has one choice: all of its embedding.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from visual_memory.data.given_images import GivenImages
from visual_memory.encoders import vit
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.outputs import ViTOutputs
from visual_memory.encoders.parts import ViTApply
from visual_memory.encoders.settings import ViTConfig


def tokens_of(
  encoder: Encoder,
  images: Any,
  *,
  blocks: Sequence[int] = (),
  attention: Sequence[int] = (),
) -> ViTOutputs:
  """All tokens of a few images, and what chosen blocks give and look at.

  Args:
    encoder: a vision transformer.
    images: as for `Encoder.encode`; all are run at once.
    blocks: those whose tokens are wanted, from 0.
    attention: those whose attention maps are wanted.

  Returns:
    Arrays on the default device; see `ViTOutputs` for the order of tokens.

  Raises:
    ValueError: the encoder is no vision transformer, or has no such block.
  """
  apply = encoder.apply
  if not isinstance(apply, ViTApply):
    raise ValueError(
      f"The encoder {encoder.name!r} is no vision transformer: it has neither"
      " blocks nor attention to show; apply and apply_patches are what it has."
    )
  images = GivenImages(images)
  pixels = [encoder.preprocess(images[i]) for i in range(len(images))]
  return _run(
    encoder.params,
    np.stack(pixels),
    config=apply.config,
    precision=apply.precision,
    blocks=tuple(blocks),
    attention=tuple(attention),
  )


_run = jax.jit(
  vit.forward, static_argnames=("config", "precision", "blocks", "attention")
)


_BLOCKS = 4


@dataclasses.dataclass(frozen=True)
class ProbeApply:
  """Class tokens of the last four blocks and the mean of the patch tokens."""

  config: ViTConfig
  precision: str

  def __call__(self, params: Any, pixels: jax.Array) -> jax.Array:
    """[B, (4 + 1) * D], each part after the final LayerNorm."""
    depth = self.config.depth
    last = tuple(range(depth - _BLOCKS, depth))
    outputs = vit.forward(
      params, pixels, config=self.config, precision=self.precision, blocks=last
    )
    parts = [outputs.blocks[block][:, 0] for block in last]
    return jnp.concatenate([*parts, outputs.patch_tokens.mean(axis=1)], axis=1)


def probe_encoder(encoder: Encoder) -> Encoder:
  """The encoder of the tokens that probes read.

  An encoder that is no vision transformer of at least four blocks is returned
  as it is.
  """
  apply = encoder.apply
  if not isinstance(apply, ViTApply) or apply.config.depth < _BLOCKS:
    return encoder
  digest = hashlib.sha256(f"probe/{encoder.fingerprint}".encode())
  return dataclasses.replace(
    encoder,
    apply=ProbeApply(apply.config, apply.precision),
    dim=(_BLOCKS + 1) * apply.config.dim,
    fingerprint=digest.hexdigest(),
  )


def probe_inputs(encoder: Encoder) -> dict[str, Bool[np.ndarray, "D"]]:
  """Which columns of the encoder's rows each kind of probe reads, by name."""
  if not isinstance(encoder.apply, ProbeApply):
    return {"embedding": np.ones(encoder.dim, bool)}
  part = np.repeat(np.arange(_BLOCKS + 1), encoder.apply.config.dim)
  patches = part == _BLOCKS
  return {
    "last block": part == _BLOCKS - 1,
    "last block, with patches": (part == _BLOCKS - 1) | patches,
    "last 4 blocks": ~patches,
    "last 4 blocks, with patches": np.ones(encoder.dim, bool),
  }
