"""Whole data sets segmented without training: what features alone know.

  pca = explained_variance(encoder, source, size=112, batch_size=8)
  prompted = prompted_iou(encoder, prompts, source, seed=0, ...)
  clustered = clustered_iou(encoder, source, num_clusters=8, seed=0, ...)

Each looks at every picture of a source with masks once, a batch at a time.
Segmentation by a memory of patches: `patch_voting`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from visual_memory.analysis.segmentation import unsupervised
from visual_memory.analysis.segmentation.agreement import hard_iou, soft_iou
from visual_memory.data import selection
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.embedding.embed_patches import dense_features
from visual_memory.encoders.encoder import Encoder
from visual_memory.types import UNLABELED

WAYS = {"attention": {}, "nearest": {"nearest": True}}
"""Options of `unsupervised.attend`: as published, and without its softmax."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explained:
  """R squared of each picture by its classes; NaN where no pixel counts.

  Attributes:
    standard: each component around its own mean.
    as_published: all around one mean.
    brightness: not by the classes: how much of the picture's brightness is a
      linear function of its components.
  """

  standard: Float[np.ndarray, "N"]
  as_published: Float[np.ndarray, "N"]
  brightness: Float[np.ndarray, "N"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompted:
  """IoU of every (picture, class) that was asked for, one way of copying.

  Attributes:
    classes: of each pair, [M].
    soft: IoU of the map as it is.
    soft_cut: of the map cut at the threshold.
    hard: of the pixels at or above one half.
  """

  classes: np.ndarray
  soft: Float[np.ndarray, "M"]
  soft_cut: Float[np.ndarray, "M"]
  hard: Float[np.ndarray, "M"]


def explained_variance(
  encoder: Encoder,
  source: ImageSource,
  *,
  size: int,
  batch_size: int,
  background: int | None = None,
) -> Explained:
  """How much of three components of the features the true classes explain.

  Args:
    encoder: has patches.
    source: with masks.
    size: side in pixels at which they are compared; 112 as published.
    batch_size: pictures at once.
    background: a class that does not count, as COCO's.
  """
  found = []
  for batch in dense_features(encoder, source, batch_size=batch_size):
    maps = np.asarray(unsupervised.pca_maps(batch.features, size=size))
    for row, picture in zip(batch.rows.tolist(), maps, strict=True):
      mask = encoder.preprocess.resize_and_crop_mask(source.mask(row))
      seen = encoder.preprocess.resize_and_crop(source[row].image)
      found.append(
        _explained(
          picture,
          unsupervised.resized_mask(mask, size=size),
          unsupervised.resized_picture(seen, size=size),
          background,
        )
      )
  return _all_explained(found)


def picture_variance(
  source: ImageSource, *, size: int, background: int | None = None
) -> dict[str, Explained]:
  """The same of the pictures themselves: {a key of `unsupervised.VIEWS`: ...}.

  Their pixels are resized (bilinear) and there are no components to find.

  Args:
    source: with masks.
    size: side in pixels at which they are compared.
    background: a class that does not count.
  """
  found = {view: [] for view in unsupervised.VIEWS}
  for row in range(len(source)):
    picture = unsupervised.resized_picture(source[row].image, size=size)
    mask = unsupervised.resized_mask(source.mask(row), size=size)
    for view, seen in unsupervised.VIEWS.items():
      found[view].append(_explained(seen(picture), mask, picture, background))
  return {view: _all_explained(rows) for view, rows in found.items()}


def prompted_iou(
  encoder: Encoder,
  prompts: ImageSource,
  source: ImageSource,
  *,
  seed: int,
  batch_size: int,
  least_share: float = 0.01,
  threshold: float = unsupervised.PUBLISHED_CUT,
  ways: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Prompted]:
  """Segments every class of every picture from one prompt, in several ways.

  For each class that fills at least `least_share` of a picture, one of the
  prompts that show it as much is drawn. Prompts are held in memory.

  Args:
    encoder: has patches.
    prompts: pictures with masks that may be shown.
    source: pictures with masks that are asked about.
    seed: of the drawing.
    batch_size: pictures at once.
    least_share: of a picture's pixels.
    threshold: see `unsupervised.cut`.
    ways: options of `unsupervised.attend` by name, and "centered": whether the
      mean token of all prompts is taken away first; WAYS by default.

  Returns:
    What each way gave: {"attention": ..., "nearest": ...}; nothing (M = 0)
    where no class of the pictures is in any prompt.
  """
  ways = WAYS if ways is None else ways
  shown = list(_pictures(encoder, prompts, batch_size=batch_size))
  center = sum(one.mean(axis=(0, 1)) for one, _ in shown) / max(1, len(shown))
  shares = np.array([_shares(mask, prompts) for _, mask in shown])
  shares = shares.reshape(len(shown), len(prompts.class_names))
  stream = np.random.default_rng(seed)
  found = {way: [] for way in ways}
  for features, mask in _pictures(encoder, source, batch_size=batch_size):
    for label in np.flatnonzero(_shares(mask, source) >= least_share):
      candidates = np.flatnonzero(shares[:, label] >= least_share)
      if not len(candidates):
        continue
      prompt, prompt_mask = shown[stream.choice(candidates)]
      asked = (prompt_mask == label).astype(np.float32)
      for way, scores in found.items():
        map_ = _attend(prompt, asked, features, center, **ways[way])
        scores.append(
          (label, *_ious(map_, mask == label, mask != UNLABELED, threshold))
        )
  return {way: _prompted(scores) for way, scores in found.items()}


def best_attention(
  encoder: Encoder,
  source: ImageSource,
  *,
  temperatures: Sequence[float],
  held_out: float,
  seed: int,
  **options: Any,
) -> tuple[dict[str, Any], dict[str, float]]:
  """The form of attention that suits an encoder, and the scores of all.

  Temperatures of cosines, with and without the mean token. Scores are mean hard
  IoU on pictures held out of the prompts: no test picture is looked at.

  Args:
    encoder: has patches.
    source: pictures with masks that may be shown.
    temperatures: to choose among, each positive.
    held_out: share of the pictures that is asked about.
    seed: of the drawing.
    **options: of `prompted_iou`.

  Returns:
    A way for `prompted_iou` (ties: the first), and scores by name: none where
    no class of the pictures held out is in the others.
  """
  is_asked = selection.tune_mask(source.ids, fraction=held_out, seed=seed)
  shown, asked = (
    selection.subset(source, rows) for rows in (~is_asked, is_asked)
  )
  ways = {
    f"{value:g}{', centered' if centered else ''}": {
      "temperature": value, "centered": centered,
    }
    for centered in (False, True)
    for value in temperatures
  }  # fmt: skip
  found = prompted_iou(encoder, shown, asked, seed=seed, ways=ways, **options)
  scores = {
    name: float(one.hard.mean()) for name, one in found.items() if len(one.hard)
  }
  first = next(iter(ways))
  return ways[max(scores, key=scores.__getitem__, default=first)], scores


def clustered_iou(
  encoder: Encoder,
  source: ImageSource,
  *,
  num_clusters: int,
  seed: int,
  batch_size: int,
) -> Float[np.ndarray, "N"]:
  """The mean IoU of each picture's classes with clusters of its patches.

  NaN where no pixel counts. Clusters are enlarged to the encoder's pixels.
  """
  result = []
  for features, mask in _pictures(encoder, source, batch_size=batch_size):
    found = unsupervised.cluster(features, num_clusters=num_clusters, seed=seed)
    enlarge = mask.shape[0] // found.shape[0]
    found = np.kron(found, np.ones((enlarge, enlarge), np.int32))
    iou = unsupervised.matched_iou(found, mask)
    result.append(iou.mean() if len(iou) else np.nan)
  return np.asarray(result)


def pictures(
  encoder: Encoder,
  source: ImageSource,
  *,
  num_clusters: int,
  seed: int,
) -> list[dict[str, np.ndarray]]:
  """Each picture with what its features show, to be looked at.

  For every picture: "picture" uint8 [S, S, 3], "truth" int32 [S, S],
  "components" float32 [h, w, 3] in [0, 1], "clusters" int32 [h, w].
  """
  result = []
  for batch in dense_features(encoder, source, batch_size=1):
    for row, features in zip(batch.rows, batch.features, strict=True):
      row = int(row)
      result.append(
        {
          "picture": encoder.preprocess.resize_and_crop(source[row].image),
          "truth": encoder.preprocess.resize_and_crop_mask(source.mask(row)),
          "components": np.asarray(
            unsupervised.pca_maps(features[None], size=features.shape[0])
          )[0],
          "clusters": unsupervised.cluster(
            features, num_clusters=num_clusters, seed=seed
          ),
        }
      )
  return result


def _ious(
  found: np.ndarray, mask: np.ndarray, counted: np.ndarray, threshold: float
) -> tuple[float, float, float]:
  """Soft, soft after the cut, and hard IoU."""
  cut = unsupervised.cut(found, threshold=threshold)
  return (
    soft_iou(found, mask, counted),
    soft_iou(cut, mask, counted),
    hard_iou(found >= 0.5, mask, counted),
  )


def _prompted(scores: list[tuple]) -> Prompted:
  classes, soft, soft_cut, hard = np.array(scores, float).reshape(-1, 4).T
  classes = classes.astype(np.int32)
  return Prompted(classes=classes, soft=soft, soft_cut=soft_cut, hard=hard)


def _shares(mask: np.ndarray, source: ImageSource) -> np.ndarray:
  """The share of the pixels that each class fills, [C]."""
  counts = np.bincount(mask.ravel() + 1, minlength=len(source.class_names) + 1)
  return counts[1:] / mask.size


def _pictures(
  encoder: Encoder, source: ImageSource, *, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Features [h, w, D] and mask [S, S] of every readable picture."""
  for batch in dense_features(encoder, source, batch_size=batch_size):
    for row, features in zip(batch.rows, batch.features, strict=True):
      mask = source.mask(int(row))
      yield features, encoder.preprocess.resize_and_crop_mask(mask)


def _attend(
  prompt: np.ndarray,
  mask: np.ndarray,
  query: np.ndarray,
  center: np.ndarray,
  *,
  centered: bool = False,
  **way: Any,
) -> np.ndarray:
  """`unsupervised.attend`, of tokens with or without what is common to all."""
  if centered:
    prompt, query = prompt - center, query - center
  return np.asarray(unsupervised.attend(prompt, mask, query, **way))


def _explained(
  maps: np.ndarray,
  mask: np.ndarray,
  picture: np.ndarray,
  background: int | None,
) -> list[float]:
  """The values of `Explained` for one picture."""
  if background is not None:
    mask = np.where(mask == background, UNLABELED, mask)
  return [
    unsupervised.explained_by_classes(maps, mask),
    unsupervised.explained_by_classes(maps, mask, as_published=True),
    unsupervised.brightness_in(maps, picture),
  ]


def _all_explained(found: list[list[float]]) -> Explained:
  standard, as_published, brightness = np.asarray(found).T
  return Explained(
    standard=standard, as_published=as_published, brightness=brightness
  )
