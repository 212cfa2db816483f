"""What segmentation without training gives, as sections of a page."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from visual_memory.analysis.patch_voting import PatchChoice
from visual_memory.analysis.segment_scores import SegmentScores
from visual_memory.analysis.segmentation import Explained, Prompted
from visual_memory.reports import pictures, plots
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """What one encoder's patches gave; None where a task was not run.

  Attributes:
    pictures: some test pictures, as `segmentation.pictures` gives them.
    choice: voter and k, and how they were chosen.
    scores: by the votes of the nearest patches.
    segmented: `pictures` by those votes, int32 [S, S] each.
    explained: by the principal components.
    prompted: by one prompt each.
    clustered: mean IoU of each picture, [N].
  """

  pictures: Sequence[Mapping[str, np.ndarray]]
  choice: PatchChoice | None = None
  scores: SegmentScores | None = None
  segmented: Sequence[np.ndarray] | None = None
  explained: Explained | None = None
  prompted: Mapping[str, Prompted] | None = None
  clustered: Float[np.ndarray, "N"] | None = None


def sections(
  found: Mapping[str, Found], rgb: Explained, class_names: Sequence[str]
) -> tuple[Section, ...]:
  """The page: by neighbors, by features alone, to be looked at."""
  voted = {name: one for name, one in found.items() if one.scores}
  return (
    *((_by_neighbors(voted, class_names),) if voted else ()),
    _by_features(found, rgb),
    _looked_at(found, class_names),
  )


def tiles(found: Mapping[str, Found]) -> dict[str, str]:
  """The mean IoU of each encoder."""
  return {
    f"mean IoU, {name}": f"{percent(one.scores.mean_iou)} %"
    for name, one in found.items()
    if one.scores
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
    + (percent(scores[name].foreground_accuracy),)
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
      Table(header=header, rows=summary, name="by_neighbors"),
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
    explained, prompted = one.explained, one.prompted
    row = [name]
    row += (
      [_mean(explained.standard), _mean(explained.as_published)]
      if explained
      else ["", ""]
    )
    soft = prompted and prompted["attention"]
    row += (
      [*map(_mean, (soft.soft, soft.soft_cut, soft.hard))]
      + [_mean(prompted["nearest"].hard)]
      if prompted
      else [""] * 4
    )
    row.append("" if one.clustered is None else _mean(one.clustered))
    rows.append(tuple(row))
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
    if one.segmented is not None:
      voted = [pictures.colored(mask) for mask in one.segmented]
      rows.append((f"{name}: votes", voted))
    rows += [
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
  result: dict[str, Any] = {}
  if one.scores:
    result |= dataclasses.asdict(one.scores)
    result["chosen"] = {"voter": one.choice.voter, "k": one.choice.k}
    result["tuning_mean_iou"] = one.choice.mean_iou
  if one.explained:
    result |= _explained_values(one.explained)
  if one.clustered is not None:
    result["clusters_iou"] = float(np.nanmean(one.clustered))
  for way, pairs in (one.prompted or {}).items():
    result.setdefault("prompted", {})[way] = {
      "soft_iou": float(pairs.soft.mean()),
      "soft_iou_cut": float(pairs.soft_cut.mean()),
      "hard_iou": float(pairs.hard.mean()),
      "num_pairs": len(pairs.soft),
    }
  return result


def _explained_values(explained: Explained) -> dict[str, float]:
  return {
    "pca_r2": float(np.nanmean(explained.standard)),
    "pca_r2_as_published": float(np.nanmean(explained.as_published)),
  }


def _mean(column: np.ndarray) -> str:
  return percent(float(np.nanmean(column)))


def _or_dash(value: float) -> str:
  return "-" if np.isnan(value) else percent(value)
