"""What a vision transformer sees inside: tokens and attention of its blocks.

  outputs = tokens_of(encoder, images, blocks=(8, 11), attention=(11,))
  outputs.blocks[8]                 # float32 [B, T, D]
  outputs.attention[11]             # float32 [B, heads, T, T]
  encoder.grid                      # rows and columns of the patches among T

`apply` and the module with its weights, to train further:

  module = vit.module(encoder.params, encoder.apply.config)    # a flax module
  module(pixels).embedding
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from visual_memory.data.given_images import GivenImages
from visual_memory.encoders import vit
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.outputs import ViTOutputs
from visual_memory.encoders.parts import ViTApply


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
      " blocks nor attention."
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
