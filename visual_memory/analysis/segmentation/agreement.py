"""How well predicted masks agree with the true ones, over a whole data set.

  counts = sum(confusion(predicted, mask, num_classes=11) for ...)
  segment_scores(counts).mean_iou

IoU of a class = pixels that both give it / pixels that either gives it, summed
over all images (the standard of Pascal VOC), not averaged over pictures.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from visual_memory.types import UNLABELED


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentScores:
  """Scores of one confusion matrix; fractions.

  Attributes:
    mean_iou: over the classes that occur in masks or predictions.
    class_iou: NaN for a class that occurs in neither, [C].
    pixel_accuracy: of all pixels that count.
    foreground_accuracy: of those whose true class is not the background; the
      same where no class is.
    num_pixels: that count.
  """

  mean_iou: float
  class_iou: Float[np.ndarray, "C"]
  pixel_accuracy: float
  foreground_accuracy: float
  num_pixels: int


def confusion(
  predictions: Int[np.ndarray, "*shape"],
  mask: Int[np.ndarray, "*shape"],
  *,
  num_classes: int,
) -> Int[np.ndarray, "C D"]:
  """Pixels by (true class, predicted class), [C, C + 1]; void is left out.

  The last column counts pixels without a prediction (UNLABELED).

  Raises:
    ValueError: a prediction that is no class.
  """
  counted = mask != UNLABELED
  true, found = mask[counted].astype(np.int64), predictions[counted]
  if ((found < UNLABELED) | (found >= num_classes)).any():
    raise ValueError(
      f"Predictions must be classes 0 to {num_classes - 1} or {UNLABELED};"
      f" got {found.min()} to {found.max()}."
    )
  found = np.where(found == UNLABELED, num_classes, found)
  pairs = true * (num_classes + 1) + found
  counts = np.bincount(pairs, minlength=num_classes * (num_classes + 1))
  return counts.reshape(num_classes, num_classes + 1)


def segment_scores(
  counts: Int[np.ndarray, "C D"], *, background: int | None = None
) -> SegmentScores:
  """The scores of a confusion matrix [C, C + 1].

  Args:
    counts: sums of `confusion`.
    background: a class that `foreground_accuracy` leaves out.

  Raises:
    ValueError: no pixel counts.
  """
  total = int(counts.sum())
  if not total:
    raise ValueError("No pixel has a true class: there is nothing to score.")
  right = np.diagonal(counts)
  true, found = counts.sum(axis=1), counts[:, :-1].sum(axis=0)
  either = true + found - right
  class_iou = np.where(either > 0, right / np.maximum(either, 1), np.nan)
  front = np.arange(len(counts)) != background
  return SegmentScores(
    mean_iou=float(np.nanmean(class_iou)),
    class_iou=class_iou,
    pixel_accuracy=float(right.sum() / total),
    foreground_accuracy=float(right[front].sum() / max(1, true[front].sum())),
    num_pixels=total,
  )


def hard_iou(
  predicted: np.ndarray, mask: np.ndarray, counted: np.ndarray
) -> float:
  """Pixels in both over pixels in either, of those that count; bool [H, W]."""
  both = np.count_nonzero(predicted & mask & counted)
  either = np.count_nonzero((predicted | mask) & counted)
  return both / either if either else 1.0


def soft_iou(
  predicted: Float[np.ndarray, "H W"],
  mask: np.ndarray,
  counted: np.ndarray,
) -> float:
  """Sum of minima over sum of maxima of a map in [0, 1] and a mask.

  Reference: procedural-data paper, Fig. 10.
  """
  predicted, mask = predicted[counted], mask[counted].astype(np.float64)
  either = np.maximum(predicted, mask).sum()
  return float(np.minimum(predicted, mask).sum() / either) if either else 1.0
