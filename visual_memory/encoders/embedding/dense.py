"""Features of every patch as a picture, one batch of images at a time.

  for batch in dense_features(encoder, source, batch_size=8):
    batch.rows, batch.features          # [B], float32 [B, rows, columns, D]

Not normalized: what analyses of whole pictures (PCA, k-means, attention) use.
For rows of a memory use `embed(..., tokens="patches")`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int

from visual_memory.data.batching import Skipped, batches
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.embedding.embed_patches import patch_encoder
from visual_memory.encoders.encoder import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseBatch:
  """Some images of a source.

  Attributes:
    rows: their positions in the source, [B].
    features: float32 patch tokens, on the host, [B, rows, columns, D].
    skipped: images of this batch that could not be read.
  """

  rows: Int[np.ndarray, "B"]
  features: Float32[np.ndarray, "B h w D"]
  skipped: tuple[Skipped, ...]


def dense_features(
  encoder: Encoder,
  source: ImageSource,
  *,
  batch_size: int,
  rows: Sequence[int] | np.ndarray | None = None,
) -> Iterator[DenseBatch]:
  """The patch features of a source, in the order of its rows.

  Args:
    encoder: has patches.
    source: the images.
    batch_size: images at once, on the default device.
    rows: positions to read; all by default.

  Raises:
    ValueError: an encoder without patches.
  """
  encoder = patch_encoder(encoder)
  params = jax.device_put(encoder.params)
  for batch in batches(
    source, encoder.preprocess, batch_size=batch_size, rows=rows
  ):
    mask = batch.data.mask
    tokens = np.asarray(_tokens(encoder.apply, params, batch.data.images))
    features = tokens[mask].reshape(-1, *encoder.grid, tokens.shape[-1])
    yield DenseBatch(
      rows=batch.rows[mask], features=features, skipped=batch.skipped
    )


@functools.partial(jax.jit, static_argnums=0)
def _tokens(
  apply: Callable[..., jax.Array], params: Any, pixels: jax.Array
) -> jax.Array:
  """Patch tokens in float32, [B, P, D]."""
  return apply(params, pixels).astype("float32")
