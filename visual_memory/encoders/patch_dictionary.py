"""An encoder that looks patches up in a dictionary, and pools what it finds.

Every patch of the image is normalized to zero mean and unit contrast; its
similarity to each of K whitened patches is soft-thresholded; responses are
averaged over a G x G grid, their square roots projected to D decorrelated
values.

Reference: Coates, Ng and Lee, "An analysis of single-layer networks in
unsupervised feature learning", 2011 (patches, whitening, k-means, pooling).
Different from it: spherical k-means with a fixed threshold, square roots, and
a final whitening, so that similarity is a cosine and needs no classifier.

Beside a vision transformer, both see the same picture, the dictionary at the
size for which it was learned; their unit embeddings are laid next to each
other, so that the similarity of two pictures is the weighted mean of both. The
dictionary knows small pictures by their texture and color, the transformer
knows parts of larger ones.
"""

import dataclasses
from collections.abc import Callable
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
    found = dense_responses(
      params, pixels, patch=self.patch, threshold=self.threshold
    )
    batch, places = found.shape[:2]
    spans = self.spans(places)
    cells = [
      jnp.mean(found[:, top:bottom, left:right], axis=(1, 2))
      for top, bottom in spans
      for left, right in spans
    ]
    return jnp.sqrt(jnp.stack(cells, axis=1).reshape(batch, -1))

  def spans(self, places: int) -> list[tuple[int, int]]:
    """Where each of the G cells of a side begins and ends among its places."""
    edges = [round(i * places / self.grid) for i in range(self.grid + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DictionaryPatches:
  """Pooled responses around each cell of an image: its patches' embeddings.

  Attributes:
    patch: side of a patch of the dictionary in pixels.
    threshold: as of the dictionary.
    cell: side of a cell in pixels; responses are averaged over a window of
      three cells a side around it, so that a cell knows its surroundings.
  """

  patch: int
  threshold: float
  cell: int

  def __call__(
    self, params: Any, pixels: Float[Array, "B S S 3"]
  ) -> Float[jax.Array, "B P K"]:
    """Square roots of the responses less their usual values, row by row."""
    found = dense_responses(
      params, pixels, patch=self.patch, threshold=self.threshold
    )
    before = (self.patch - 1) // 2
    margins = (before + self.cell, self.patch - 1 - before + self.cell)
    # Counts of real responses make the edges averages of fewer.
    ones = jnp.ones((1, *found.shape[1:3], 1))
    sums, counts = (self._summed(values, margins) for values in (found, ones))
    cells = jnp.sqrt(sums / counts)
    usual = params["mean"].reshape(-1, cells.shape[-1]).mean(axis=0)
    cells = cells - usual[None, None, None]
    return cells.reshape(len(cells), -1, cells.shape[-1])

  def _summed(self, values: jax.Array, margins: tuple[int, int]) -> jax.Array:
    """Sums over the window of every cell."""
    return jax.lax.reduce_window(
      values,
      0.0,
      jax.lax.add,
      window_dimensions=(1, 3 * self.cell, 3 * self.cell, 1),
      window_strides=(1, self.cell, self.cell, 1),
      padding=((0, 0), margins, margins, (0, 0)),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DictionaryWindows:
  """The embedding of the window around each cell of an image.

  What `PatchDictionary` gives for an image of the size that it was learned at,
  cut out around the cell; the image is mirrored at its edges. So patches are
  whitened as images are, and lie in the same space.

  Attributes:
    dictionary: the function of a whole image.
    side: of a window in pixels.
    cell: side of a cell in pixels.
  """

  dictionary: PatchDictionary
  side: int
  cell: int

  def __call__(
    self, params: Any, pixels: Float[Array, "B S S 3"]
  ) -> Float[jax.Array, "B P D"]:
    """Embeddings row by row, not normalized; one image at a time."""
    params = jax.device_put(params)
    return jax.lax.map(lambda image: self._windows(params, image[None]), pixels)

  def _windows(self, params: Any, image: jax.Array) -> jax.Array:
    """All windows of one image, [1, S, S, 3] -> [P, D]."""
    count = image.shape[1] // self.cell
    before = (self.side - self.cell) // 2
    margins = (before, self.side - self.cell - before)
    found = dense_responses(
      params,
      jnp.pad(image, ((0, 0), margins, margins, (0, 0)), mode="reflect"),
      patch=self.dictionary.patch,
      threshold=self.dictionary.threshold,
    )
    spans = self.dictionary.spans(self.side - self.dictionary.patch + 1)
    cells = [
      self._means(found, rows, columns)[:, :count, :count]
      for rows in spans
      for columns in spans
    ]
    rows = jnp.sqrt(jnp.stack(cells, axis=3)).reshape(count * count, -1)
    return jnp.matmul(
      rows - params["mean"][None],
      params["projection"],
      precision=jax.lax.Precision.HIGHEST,
    )

  def _means(
    self, found: jax.Array, rows: tuple[int, int], columns: tuple[int, int]
  ) -> jax.Array:
    """The mean response in one part of every window."""
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    sums = jax.lax.reduce_window(
      found[:, rows[0] :, columns[0] :],
      0.0,
      jax.lax.add,
      window_dimensions=(1, height, width, 1),
      window_strides=(1, self.cell, self.cell, 1),
      padding="VALID",
    )
    return sums / (height * width)


def patch_function(
  settings: dict[str, Any], dense: str, *, side: int, cell: int
) -> DictionaryPatches | DictionaryWindows:
  """What gives the patches of an image, by the settings of a dictionary.

  Args:
    settings: of the `PatchDictionary`.
    dense: "cells" or "windows".
    side: of the images that it was learned from, in pixels.
    cell: side of a cell in pixels.

  Raises:
    ValueError: another kind of patches.
  """
  dictionary = PatchDictionary(**settings)
  if dense == "windows":
    return DictionaryWindows(dictionary=dictionary, side=side, cell=cell)
  if dense != "cells":
    raise ValueError(f"dense cannot be {dense!r}: choose cells or windows.")
  return DictionaryPatches(
    patch=dictionary.patch, threshold=dictionary.threshold, cell=cell
  )


def dense_responses(
  params: Any,
  pixels: Float[Array, "B S S 3"],
  *,
  patch: int,
  threshold: float,
) -> Float[jax.Array, "B T T K"]:
  """How much of each word is in every window of the images, T = S - patch + 1.

  Args:
    params: kernel and bias.
    pixels: in [0, 1].
    patch: side of a window.
    threshold: subtracted from similarities; what is below zero is dropped.
  """
  pixels, kernel = jnp.asarray(pixels), jnp.asarray(params["kernel"])
  count, size = kernel.shape
  # A patch is normalized after the product with the dictionary, not before:
  # (p - mean) / deviation @ kernel = (p @ kernel - mean sum(kernel)) / ...
  sums = jnp.ones((patch, patch, 3, 1))
  total = _slide(pixels, sums)
  mean = total / count
  variance = jnp.maximum(_slide(pixels * pixels, sums) / count - mean**2, 0)
  products = _slide(pixels, kernel.reshape(patch, patch, 3, size))
  products = products - mean * jnp.sum(kernel, axis=0)[None, None, None]
  scores = products * jax.lax.rsqrt(variance + CONTRAST)
  offset = params["bias"] + threshold
  return jnp.maximum(scores - offset[None, None, None], 0)


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


@dataclasses.dataclass(frozen=True)
class BesideDictionary:
  """The pure function from params and pixels to embeddings, by its settings.

  Attributes:
    vit: the transformer's own function.
    dictionary: the dictionary's.
    side: of the pictures for which it was learned, in pixels.
    weight: of the transformer's embedding, whose square is its similarity's
      weight beside the dictionary's 1.
    mean: what was subtracted from the pixels, per channel.
    std: what they were divided by.
  """

  vit: Callable[..., jax.Array]
  dictionary: PatchDictionary
  side: int
  weight: float
  mean: tuple[float, float, float]
  std: tuple[float, float, float]

  def __call__(
    self, params: Any, pixels: Float[Array, "B S S 3"]
  ) -> Float[jax.Array, "B D"]:
    """Embeddings, the dictionary's first, not normalized.

    Args:
      params: "vit" and "dictionary".
      pixels: normalized; S is a multiple of `side`.
    """
    mean, std = jnp.asarray(self.mean), jnp.asarray(self.std)
    plain = pixels * std[None, None, None] + mean[None, None, None]
    factor = pixels.shape[1] // self.side
    split = plain.reshape(-1, self.side, factor, self.side, factor, 3)
    words = self.dictionary(params["dictionary"], jnp.mean(split, axis=(2, 4)))
    tokens = self.vit(params["vit"], pixels)
    return jnp.concatenate([_unit(words), self.weight * _unit(tokens)], axis=-1)


def _unit(rows: jax.Array) -> jax.Array:
  """Rows of unit length; a row of zeros stays one."""
  squares = jnp.sum(rows * rows, axis=-1, keepdims=True)
  return rows * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
