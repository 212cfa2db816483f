"""Segmentation by a memory of patches: each patch of a picture is a query.

  counts = patch_confusions(patches, source, memory, settings=..., ks=(10, 50))
  segment_scores(counts["rank"][50]).mean_iou

The votes of neighboring patches are interpolated to the picture's pixels.

Reference: procedural-data paper, Fig. 11, called kNN there; its code takes the
softmax of q.k / sqrt(D) over all rows of a memory of 512 pictures. This is the
vote of the k nearest.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from visual_memory.analysis.latency import Stopwatch
from visual_memory.analysis.segmentation.agreement import (
  confusion,
  segment_scores,
)
from visual_memory.data.image_source import ImageSource
from visual_memory.data.preprocess import has_masks
from visual_memory.encoders.embedding.embed_patches import patch_places
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.types import UNLABELED, EmbeddedSet, Neighbors
from visual_memory.voting import vote, weighting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchChoice:
  """The voter and k with the largest mean IoU on held-out pictures.

  Attributes:
    voter: its name.
    k: how many neighbors vote.
    mean_iou: of all candidates there, {voter: {k: fraction}}.
  """

  voter: str
  k: int
  mean_iou: dict[str, dict[int, float]]


def choose(
  counts: Mapping[str, Mapping[int, Int[np.ndarray, "C D"]]],
) -> PatchChoice:
  """What is best by `patch_confusions` of tuning pictures; ties: the first.

  Their patches must not be in the memory that was asked: leaving a patch out
  of its own neighbors would leave the patches beside it.
  """
  mean_iou = {
    voter: {k: segment_scores(c).mean_iou for k, c in by_k.items()}
    for voter, by_k in counts.items()
  }
  candidates = [(voter, k) for voter in mean_iou for k in mean_iou[voter]]
  voter, k = max(candidates, key=lambda c: mean_iou[c[0]][c[1]])
  return PatchChoice(voter=voter, k=k, mean_iou=mean_iou)


def patch_confusions(
  patches: EmbeddedSet,
  source: ImageSource,
  memory: VisualMemory,
  *,
  settings: Mapping[str, weighting.Setting],
  ks: Sequence[int],
  images_at_once: int = 8,
  stopwatch: Stopwatch | None = None,
) -> dict[str, dict[int, Int[np.ndarray, "C D"]]]:
  """Confusion matrices of whole masks, {voter: {k: [C, C + 1]}}.

  Args:
    patches: all patches of some images, as `embed` gives them.
    source: those images, with masks; others are ignored.
    memory: patches of other images.
    settings: the voters.
    ks: how many neighbors vote.
    images_at_once: pictures that are searched together.
    stopwatch: takes the time of "search" and of "vote", from neighbors to the
      class of every pixel.

  Raises:
    ValueError: a source without masks, classes other than the memory's, or
      pictures of which patches are missing.
  """
  if not has_masks(source) or source.class_names != memory.class_names:
    raise ValueError(
      "Segments are scored against masks with the classes of the memory."
    )
  stopwatch = Stopwatch() if stopwatch is None else stopwatch
  row_of = {image_id: row for row, image_id in enumerate(source.ids)}
  num_classes = len(memory.class_names)
  counts = {name: dict.fromkeys(ks, 0) for name in settings}
  for ids, grid, embeddings in picture_groups(patches, images_at_once):
    with stopwatch("search"):
      near = exact.search(embeddings, memory, k=max(ks))
    masks = [source.mask(row_of[image_id]) for image_id in ids]
    for name, setting in settings.items():
      with stopwatch("vote"):
        scores = _picture_scores(near, setting, ks, grid, num_classes)
      for k, pictures in zip(ks, scores, strict=True):
        for picture, mask in zip(pictures, masks, strict=True):
          with stopwatch("vote"):
            found = pixel_classes(picture, shape=mask.shape)
          counts[name][k] += confusion(found, mask, num_classes=num_classes)
  return counts


def segmented(
  patches: EmbeddedSet,
  memory: VisualMemory,
  *,
  setting: weighting.Setting,
  k: int,
  image_ids: Sequence[str] | np.ndarray,
  shape: tuple[int, int],
) -> list[Int32[np.ndarray, "H W"]]:
  """The class at each pixel of some pictures, as they are.

  Args:
    patches: all patches of those pictures, and perhaps of others.
    memory: patches of other pictures.
    setting: the voter.
    k: how many neighbors vote.
    image_ids: of the pictures that are wanted.
    shape: (height, width) of the result.
  """
  found = {}
  num_classes = len(memory.class_names)
  for (image_id,), grid, embeddings in picture_groups(patches, 1):
    if image_id in image_ids:
      near = exact.search(embeddings, memory, k=k)
      scores = _picture_scores(near, setting, (k,), grid, num_classes)
      found[image_id] = pixel_classes(scores[0, 0], shape=shape)
  return [found[image_id] for image_id in image_ids]


def _picture_scores(
  near: Neighbors,
  setting: weighting.Setting,
  ks: Sequence[int],
  grid: tuple[int, int],
  num_classes: int,
) -> Float32[np.ndarray, "K B h w C"]:
  """The say of each class in each patch of some pictures."""
  scores = vote.class_scores(
    near.labels,
    weighting.weights(near.similarities, setting),
    ks=ks,
    num_classes=num_classes,
  )
  return scores.reshape(len(ks), -1, *grid, num_classes)


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
