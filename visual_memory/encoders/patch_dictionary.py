"""An encoder that looks patches up in a dictionary, and pools what it finds.

Every patch of the image is normalized to zero mean and unit contrast; its
similarity to each of K whitened patches is soft-thresholded; responses are
averaged over a G x G grid, their square roots projected to D decorrelated
values.

Reference: Coates, Ng and Lee, "An analysis of single-layer networks in
unsupervised feature learning", 2011 (patches, whitening, k-means, pooling).
Different from it: spherical k-means with a fixed threshold, square roots, and
a final whitening, so that similarity is a cosine and needs no classifier.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from visual_memory.types import Array

CONTRAST = 10 / 255**2
"""Added to the variance of a patch, so that flat patches stay small."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchDictionary:
  """The pure function from params and pixels to embeddings, by its settings.

  Attributes:
    patch: side of a patch in pixels.
    grid: G, cells a side over which responses are averaged.
    threshold: subtracted from similarities; what is below zero is dropped.
  """

  patch: int
  grid: int
  threshold: float

  def __call__(
    self, params: Any, pixels: Float[Array, "B S S 3"]
  ) -> Float[jax.Array, "B D"]:
    """Embeddings, not normalized.

    Args:
      params: kernel [patch * patch * 3, K], bias [K], mean [G * G * K] and
        projection [G * G * K, D].
      pixels: in [0, 1].
    """

    rows = self.responses(params, pixels) - params["mean"][None]
    return jnp.matmul(
      rows, params["projection"], precision=jax.lax.Precision.HIGHEST
    )

  def responses(
    self, params: Any, pixels: Float[Array, "B S S 3"]
  ) -> Float[jax.Array, "B GGK"]:
    """Square roots of the pooled responses, before the projection."""
    side = self.patch
    pixels, kernel = jnp.asarray(pixels), jnp.asarray(params["kernel"])
    count, size = kernel.shape
    # A patch is normalized after the product with the dictionary, not before:
    # (p - mean) / deviation @ kernel = (p @ kernel - mean sum(kernel)) / ...
    sums = jnp.ones((side, side, 3, 1))
    total = _slide(pixels, sums)
    mean = total / count
    variance = jnp.maximum(_slide(pixels * pixels, sums) / count - mean**2, 0)
    products = _slide(pixels, kernel.reshape(side, side, 3, size))
    products = products - mean * jnp.sum(kernel, axis=0)[None, None, None]
    scores = products * jax.lax.rsqrt(variance + CONTRAST)
    offset = params["bias"] + self.threshold
    found = jnp.maximum(scores - offset[None, None, None], 0)
    batch, places = found.shape[:2]
    edges = [round(i * places / self.grid) for i in range(self.grid + 1)]
    cells = [
      jnp.mean(found[:, top:bottom, left:right], axis=(1, 2))
      for top, bottom in zip(edges[:-1], edges[1:], strict=True)
      for left, right in zip(edges[:-1], edges[1:], strict=True)
    ]
    return jnp.sqrt(jnp.stack(cells, axis=1).reshape(batch, -1))


def _slide(images: jax.Array, kernel: jax.Array) -> jax.Array:
  """Products of a kernel [h, w, in, out] with every window of the images."""
  return jax.lax.conv_general_dilated(
    images,
    kernel,
    window_strides=(1, 1),
    padding="VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision=jax.lax.Precision.HIGHEST,
  )
