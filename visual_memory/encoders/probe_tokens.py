"""The tokens that DINOv2's linear probes read, as an encoder of their own.

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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from visual_memory.encoders import vit
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.parts import ViTApply
from visual_memory.encoders.settings import ViTConfig

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
