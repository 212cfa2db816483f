"""Segmentation by a memory of patches: each patch of a picture is a query.

  counts = patch_confusions(patches, source, memory, settings=..., ks=(10, 50))
  segment_scores(counts["rank"][50]).mean_iou

The votes of neighboring patches are interpolated to the picture's pixels.

Reference: procedural-data paper, Fig. 11, called kNN there; its code takes the
softmax of q.k / sqrt(D) over all rows of a memory of 512 pictures. This is the
vote of the k nearest.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from visual_memory.analysis.segment_scores import confusion
from visual_memory.data.image_source import ImageSource
from visual_memory.data.masks import has_masks
from visual_memory.encoders.embed_patches import patch_places
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.types import UNLABELED, EmbeddedSet
from visual_memory.voting import vote, weighting


def patch_confusions(
  patches: EmbeddedSet,
  source: ImageSource,
  memory: VisualMemory,
  *,
  settings: Mapping[str, weighting.Setting],
  ks: Sequence[int],
  images_at_once: int = 8,
) -> dict[str, dict[int, Int[np.ndarray, "C D"]]]:
  """Confusion matrices of whole masks, {voter: {k: [C, C + 1]}}.

  Args:
    patches: all patches of some images, as `embed` gives them.
    source: those images, with masks; others are ignored.
    memory: patches of other images.
    settings: the voters.
    ks: how many neighbors vote.
    images_at_once: pictures that are searched together.

  Raises:
    ValueError: a source without masks, classes other than the memory's, or
      pictures of which patches are missing.
  """
  if not has_masks(source) or source.class_names != memory.class_names:
    raise ValueError(
      "Segments are scored against masks with the classes of the memory."
    )
  row_of = {image_id: row for row, image_id in enumerate(source.ids)}
  num_classes = len(memory.class_names)
  counts = {name: dict.fromkeys(ks, 0) for name in settings}
  for ids, grid, embeddings in picture_groups(patches, images_at_once):
    near = exact.search(embeddings, memory, k=max(ks))
    masks = [source.mask(row_of[image_id]) for image_id in ids]
    for name, setting in settings.items():
      scores = vote.class_scores(
        near.labels,
        weighting.weights(near.similarities, setting),
        ks=ks,
        num_classes=num_classes,
      )
      scores = scores.reshape(len(ks), len(ids), *grid, num_classes)
      for k, pictures in zip(ks, scores, strict=True):
        for picture, mask in zip(pictures, masks, strict=True):
          found = pixel_classes(picture, shape=mask.shape)
          counts[name][k] += confusion(found, mask, num_classes=num_classes)
  return counts


def picture_groups(
  patches: EmbeddedSet, images_at_once: int
) -> Iterator[tuple[list[str], tuple[int, int], Float[np.ndarray, "Q D"]]]:
  """Image ids, grid and rows of a few whole pictures at a time.

  Raises:
    ValueError: a picture of which patches are missing.
  """
  images, cells = patch_places(patches.ids)
  rows, columns = (int(side) + 1 for side in cells.max(axis=0))
  count = rows * columns
  expected = np.stack(np.divmod(np.arange(count), columns), axis=1)
  for start in range(0, len(images), count * images_at_once):
    part = slice(start, start + count * images_at_once)
    names = images[part].tolist()
    whole = [names[first] for first in range(0, len(names), count)]
    complete = names == [name for name in whole for _ in range(count)]
    if not complete or (cells[part].reshape(-1, count, 2) != expected).any():
      raise ValueError(
        f"Some of {whole[:3]} lack patches of their {rows}x{columns}: embed"
        " them without per_image."
      )
    yield whole, (rows, columns), patches.embeddings[part]


def pixel_classes(
  scores: Float[np.ndarray, "h w C"], *, shape: tuple[int, int]
) -> Int32[np.ndarray, "H W"]:
  """The class with the largest say at each pixel, ties to the lowest.

  The shares of the classes at the centers of the patches are interpolated
  bilinearly. UNLABELED where no neighbor of any patch around had a label.
  """
  best, any_say = _pixel_classes(scores, shape=shape)
  return np.where(np.asarray(any_say), np.asarray(best), UNLABELED)


@functools.partial(jax.jit, static_argnames="shape")
def _pixel_classes(
  scores: jax.Array, *, shape: tuple[int, int]
) -> tuple[Int32[jax.Array, "H W"], jax.Array]:
  """The class at each pixel, and whether any class has a say there."""
  total = jnp.sum(scores, axis=-1, keepdims=True)
  shares: Float32[jax.Array, "h w C"] = scores / jnp.where(total > 0, total, 1)
  shares = jax.image.resize(
    shares, (*shape, shares.shape[-1]), "bilinear", antialias=False
  )
  return (
    jnp.argmax(shares, axis=-1).astype(jnp.int32),
    jnp.max(shares, axis=-1) > 0,
  )
