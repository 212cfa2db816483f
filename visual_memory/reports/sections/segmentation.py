"""What segmentation without training gives, as sections of a page."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from visual_memory.analysis.patch_voting import PatchChoice
from visual_memory.analysis.segment_scores import SegmentScores, segment_scores
from visual_memory.analysis.segmentation import Explained, Prompted
from visual_memory.reports import pictures, plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """What one encoder's patches gave.

  Attributes:
    choice: voter and k, and how they were chosen.
    counts: the confusion matrix of the test pictures, [C, C + 1].
    background: the class that `foreground_accuracy` leaves out; or None.
    explained: of their principal components.
    prompted: by one prompt each.
    clustered: mean IoU of each picture, [N].
    pictures: some of them, as `segmentation.pictures` gives them.
    segmented: the same, by the memory, int32 [S, S] each.
  """

  choice: PatchChoice
  counts: Int[np.ndarray, "C D"]
  background: int | None
  explained: Explained
  prompted: Mapping[str, Prompted]
  clustered: Float[np.ndarray, "N"]
  pictures: Sequence[Mapping[str, np.ndarray]]
  segmented: Sequence[np.ndarray]

  @property
  def scores(self) -> SegmentScores:
    """Of the test pictures."""
    return segment_scores(self.counts, background=self.background)


def sections(
  found: Mapping[str, Found], rgb: Explained, class_names: Sequence[str]
) -> tuple[Section, ...]:
  """The page: by neighbors, by features alone, to be looked at."""
  return (
    _by_neighbors(found, class_names),
    _by_features(found, rgb),
    _looked_at(found, class_names),
  )


def tiles(found: Mapping[str, Found]) -> dict[str, str]:
  """The mean IoU of each encoder."""
  return {
    f"mean IoU, {name}": f"{percent(one.scores.mean_iou)} %"
    for name, one in found.items()
  }


def values(found: Mapping[str, Found], rgb: Explained) -> dict[str, Any]:
  """Every number of the page, by encoder."""
  return {
    "rgb_picture": _explained_values(rgb),
    "encoders": {name: _values(one) for name, one in found.items()},
  }


def _by_neighbors(
  found: Mapping[str, Found], class_names: Sequence[str]
) -> Section:
  """Votes of a memory of patches: mean and per-class IoU of each encoder."""
  scores = {name: one.scores for name, one in found.items()}
  summary = tuple(
    (
      name,
      f"{one.choice.voter}, k = {one.choice.k}",
      percent(scores[name].mean_iou),
      percent(scores[name].pixel_accuracy),
    )
    + (
      ()
      if one.background is None
      else (percent(scores[name].foreground_accuracy),)
    )
    for name, one in found.items()
  )
  header = ("encoder", "chosen", "mean IoU", "pixels right", "of foreground")
  each = tuple(
    (label, *(_or_dash(score.class_iou[row]) for score in scores.values()))
    for row, label in enumerate(class_names)
  )
  bars = {
    name: dict(
      zip(class_names, 100 * np.nan_to_num(score.class_iou), strict=True)
    )
    for name, score in scores.items()
  }
  return Section(
    title="By the nearest patches",
    prose=(
      "Every patch of a test picture asks a memory of patches; the votes are"
      " interpolated to pixels. Voter and k were chosen on pictures of the"
      " memory, held out whole; the test pictures were scored once. Percent.",
    ),
    tables=(
      Table(
        header=header[: len(summary[0])], rows=summary, name="by_neighbors"
      ),
      Table(header=("IoU of", *found), rows=each, name="class_iou"),
    ),
    figures=(
      Figure(
        name="class_iou",
        svg=plots.bars(
          bars, name="class_iou", y_label="IoU (%)", size=(7.0, 3.4)
        ),
      ),
    ),
  )


def _by_features(found: Mapping[str, Found], rgb: Explained) -> Section:
  """PCA, prompts and clusters: one row for each encoder."""
  header = (
    "encoder", "PCA R2", "PCA R2 as published", "prompt: soft IoU",
    "soft IoU, cut", "hard IoU", "nearest patch: hard IoU", "k-means IoU",
  )  # fmt: skip
  rows = [
    ("RGB of the picture", *map(_mean, (rgb.standard, rgb.as_published)))
    + ("",) * 5
  ]
  for name, one in found.items():
    soft, nearest = (one.prompted[way] for way in ("attention", "nearest"))
    columns = (
      one.explained.standard, one.explained.as_published, soft.soft,
      soft.soft_cut, soft.hard, nearest.hard, one.clustered,
    )  # fmt: skip
    rows.append((name, *map(_mean, columns)))
  return Section(
    title="By the features alone",
    prose=(
      "PCA R2: the share of the variance of three principal components that"
      " the classes of the pixels explain. As published, all three are centered"
      " on one mean, which counts the difference between them as explained.",
      "Prompt: every class of a picture is found from one other picture with"
      " its mask, by attention to all its patches or by its nearest patch."
      " k-means: clusters matched one to one with the classes. Percent.",
    ),
    tables=(Table(header=header, rows=tuple(rows), name="by_features"),),
  )


def _looked_at(
  found: Mapping[str, Found], class_names: Sequence[str]
) -> Section:
  """Some pictures, what they hold, and what each encoder makes of them."""
  some = next(iter(found.values())).pictures
  rows = [
    ("picture", [one["picture"] for one in some]),
    ("truth", [pictures.colored(one["truth"]) for one in some]),
  ]
  for name, one in found.items():
    shown = one.pictures
    rows += [
      (f"{name}: votes", [pictures.colored(mask) for mask in one.segmented]),
      (f"{name}: PCA", [picture["components"] for picture in shown]),
      (
        f"{name}: k-means",
        [pictures.colored(picture["clusters"]) for picture in shown],
      ),
    ]
  grid = pictures.picture_grid(
    [row for _, row in rows],
    columns=("",) * len(some),
    row_names=[name for name, _ in rows],
    name="looked_at",
  )
  return Section(
    title="To be looked at",
    prose=("Colors of clusters carry no meaning from picture to picture.",),
    figures=(
      Figure(name="looked_at", svg=grid),
      Figure(
        name="classes", svg=pictures.legend(class_names, name="classes")
      ),
    ),
  )


def _values(one: Found) -> dict[str, Any]:
  scores = one.scores
  return {
    "mean_iou": scores.mean_iou,
    "class_iou": scores.class_iou,
    "pixel_accuracy": scores.pixel_accuracy,
    "foreground_accuracy": scores.foreground_accuracy,
    "chosen": {"voter": one.choice.voter, "k": one.choice.k},
    "tuning_mean_iou": one.choice.mean_iou,
    **_explained_values(one.explained),
    "clusters_iou": float(np.nanmean(one.clustered)),
    "prompted": {
      way: {
        "soft_iou": float(pairs.soft.mean()),
        "soft_iou_cut": float(pairs.soft_cut.mean()),
        "hard_iou": float(pairs.hard.mean()),
        "num_pairs": len(pairs.soft),
      }
      for way, pairs in one.prompted.items()
    },
  }


def _explained_values(explained: Explained) -> dict[str, float]:
  return {
    "pca_r2": float(np.nanmean(explained.standard)),
    "pca_r2_as_published": float(np.nanmean(explained.as_published)),
  }


def _mean(column: np.ndarray) -> str:
  return percent(float(np.nanmean(column)))


def _or_dash(value: float) -> str:
  return "-" if np.isnan(value) else percent(value)
