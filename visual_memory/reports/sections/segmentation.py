"""What segmentation without training gives, as sections of a page."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from visual_memory.analysis.segmentation.agreement import SegmentScores
from visual_memory.analysis.segmentation.patch_voting import PatchChoice
from visual_memory.analysis.segmentation.token_spread import TokenSpread
from visual_memory.analysis.segmentation.untrained import Explained, Prompted
from visual_memory.reports import pictures, plots, tables
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent

_STAGES = ("embed", "search", "vote")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """What one encoder's patches gave; None where a task was not run.

  Attributes:
    pictures: some test pictures, as `segmentation.pictures` gives them.
    choice: voter and k, and how they were chosen.
    scores: by the votes of the nearest patches.
    segmented: `pictures` by those votes, int32 [S, S] each.
    explained: by the principal components.
    seconds: to answer all test pictures: "embed", "search" and "vote".
    prompted: by one prompt each.
    attention: hard IoU on held-out prompts of every form of attention; empty
      where none could be asked about.
    spread: how the tokens of the prompts lie.
    clustered: mean IoU of each picture, [N].
  """

  pictures: Sequence[Mapping[str, np.ndarray]]
  choice: PatchChoice | None = None
  scores: SegmentScores | None = None
  segmented: Sequence[np.ndarray] | None = None
  explained: Explained | None = None
  seconds: Mapping[str, float] | None = None
  prompted: Mapping[str, Prompted] | None = None
  attention: Mapping[str, float] | None = None
  spread: TokenSpread | None = None
  clustered: Float[np.ndarray, "N"] | None = None


def sections(
  found: Mapping[str, Found],
  seen: Mapping[str, Explained],
  class_names: Sequence[str],
) -> tuple[Section, ...]:
  """The page: by neighbors, by features alone, why, to be looked at."""
  voted = {name: one for name, one in found.items() if one.scores}
  spread = any(one.spread for one in found.values())
  return (
    *((_by_neighbors(voted, class_names),) if voted else ()),
    _by_features(found, seen),
    *((_why(found, seen),) if spread else ()),
    _looked_at(found, class_names),
  )


def tiles(found: Mapping[str, Found]) -> dict[str, str]:
  """The mean IoU of each encoder, the best first."""
  scored = {name: one.scores.mean_iou for name, one in found.items()
            if one.scores}  # fmt: skip
  return {
    f"mean IoU, {name}": f"{percent(scored[name])} %"
    for name in sorted(scored, key=scored.get, reverse=True)
  }


def values(
  found: Mapping[str, Found], seen: Mapping[str, Explained]
) -> dict[str, Any]:
  """Every number of the page, by encoder."""
  pictures_alone = {view: _explained_values(one) for view, one in seen.items()}
  return {
    "rgb_picture": next(iter(pictures_alone.values())),
    "pictures": pictures_alone,
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
    + tuple(f"{one.seconds[stage]:.1f}" for stage in _STAGES)
    for name, one in found.items()
  )
  header = (
    "encoder", "chosen", "mean IoU", "pixels right", "of foreground",
    *(f"{stage} (s)" for stage in _STAGES),
  )  # fmt: skip
  each = tuple(
    (label, *(percent(score.class_iou[row]) for score in scores.values()))
    for row, label in enumerate(class_names)
  )
  bars = {
    name: {
      label: 100 * value
      for label, value in zip(class_names, score.class_iou, strict=True)
      if np.isfinite(value)
    }
    for name, score in scores.items()
  }
  return Section(
    title="By the nearest patches",
    finding=_finding(scores),
    prose=(
      "Every patch of a test picture asks a memory of patches; the votes are"
      " interpolated to pixels. Voter and k were chosen on pictures of the"
      " memory, held out whole; the test pictures were scored once. Percent;"
      " seconds are of all test pictures together (embedding is 0 where it was"
      " remembered).",
    ),
    tables=(
      Table(header=header, rows=summary, name="by_neighbors"),
      Table(header=("IoU of", *found), rows=each, name="class_iou"),
    ),
    figures=(
      Figure.of(
        plots.bars, bars, name="class_iou", y_label="IoU (%)", size=(7.0, 3.4)
      ),
    ),
  )


def _finding(scores) -> str:
  """The encoder of the highest mean IoU."""
  best = max(scores, key=lambda name: scores[name].mean_iou)
  return (
    f"By the votes of the nearest patches {best} segments best: a mean IoU of"
    f" {percent(scores[best].mean_iou)} %."
  )


def _by_features(
  found: Mapping[str, Found], seen: Mapping[str, Explained]
) -> Section:
  """PCA, prompts and clusters: one row for each encoder."""
  header = (
    "encoder", "PCA R2", "as published", "attention: soft IoU", "soft IoU, cut",
    "hard IoU", "chosen attention: hard IoU", "nearest patch: hard IoU",
    "k-means IoU",
  )  # fmt: skip
  rows = [
    (view, _told(one.standard), _told(one.as_published)) + ("",) * 6
    for view, one in seen.items()
  ]
  for name, one in found.items():
    explained, prompted = one.explained, one.prompted
    row = [name]
    row += (
      [_told(explained.standard), _told(explained.as_published)]
      if explained
      else ["", ""]
    )
    soft = prompted and prompted["attention"]
    row += (
      [*map(_told, (soft.soft, soft.soft_cut, soft.hard))]
      + [_told(prompted[way].hard) for way in ("tuned", "nearest")]
      if prompted
      else [""] * 5
    )
    row.append("" if one.clustered is None else _told(one.clustered))
    rows.append(tuple(row))
  return Section(
    title="By the features alone",
    prose=(
      "PCA R2: the share of the variance of three principal components that"
      " the classes of the pixels explain. As published, all three are centered"
      " on one mean, which counts the difference between them as explained."
      " Above the encoders: the picture itself.",
      "Prompt: every class of a picture is found from one other picture with"
      " its mask: by attention to all its patches as published, by attention"
      " whose form was chosen on held-out prompts, or by its nearest patch."
      " k-means: clusters matched one to one with the classes. Percent.",
    ),
    tables=(Table(header=header, rows=tuple(rows), name="by_features"),),
  )


def _why(found: Mapping[str, Found], seen: Mapping[str, Explained]) -> Section:
  """What the two scores above depend on, besides what features know."""
  bright = seen["its brightness"]
  rows = tuple(
    (
      name,
      "" if one.explained is None else _told(one.explained.brightness),
      f"{one.spread.mean_square:.3f}",
      percent(one.spread.common),
      percent(one.spread.attended),
      max(one.attention, key=one.attention.__getitem__, default=tables.NONE),
    )
    for name, one in found.items()
    if one.spread
  )
  header = (
    "encoder", "brightness held by the PCA (%)", "mean square of an entry",
    "common to all tokens (%)", "prompt attended to (%)", "chosen temperature",
  )  # fmt: skip
  return Section(
    title="Why these scores are not those of the votes",
    folded=True,
    prose=(
      "PCA R2 rewards few smooth components that follow the classes of a"
      " picture. The brightness of these pictures alone has an R2 of"
      f" {_told(bright.standard)} %, their color without it"
      f" {_told(seen['its color without brightness'].standard)} %. An encoder"
      " that normalizes the brightness and contrast of every patch away, as a"
      " dictionary of patches does, cannot show what brightness explains; its"
      " components follow texture. Votes of nearest patches use all"
      " dimensions, and do not depend on which vary most.",
      "Attention as published divides products of tokens by their number of"
      " entries, which suits tokens of a LayerNorm, of mean square 1. Shorter"
      " ones, or ones that have much in common, attend to all of the prompt"
      " alike. A temperature of cosines chosen on held-out prompts, without the"
      " mean token where that is better, is the same for all encoders.",
    ),
    tables=(Table(header=header, rows=rows, name="why"),),
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
    folded=True,
    prose=("Colors of clusters carry no meaning from picture to picture.",),
    figures=(
      Figure(name="looked_at", svg=grid),
      Figure.of(pictures.legend, class_names, name="classes"),
    ),
  )


def _values(one: Found) -> dict[str, Any]:
  result: dict[str, Any] = {}
  if one.scores:
    result |= vars(one.scores)
    result["class_iou"] = tables.or_none(one.scores.class_iou)
    result["chosen"] = {"voter": one.choice.voter, "k": one.choice.k}
    result["tuning_mean_iou"] = one.choice.mean_iou
    result["seconds"] = dict(one.seconds)
  if one.explained:
    result |= _explained_values(one.explained)
  if one.clustered is not None:
    result["clusters_iou"] = _mean(one.clustered)
  if one.spread:
    result["attention_on_held_out_prompts"] = dict(one.attention)
    result["token_spread"] = dataclasses.asdict(one.spread)
  for way, pairs in (one.prompted or {}).items():
    result.setdefault("prompted", {})[way] = {
      "soft_iou": _mean(pairs.soft),
      "soft_iou_cut": _mean(pairs.soft_cut),
      "hard_iou": _mean(pairs.hard),
      "num_pairs": len(pairs.soft),
    }
  return result


def _explained_values(explained: Explained) -> dict[str, float | None]:
  return {
    "pca_r2": _mean(explained.standard),
    "pca_r2_as_published": _mean(explained.as_published),
    "brightness_in_components": _mean(explained.brightness),
  }


def _mean(column: Float[np.ndarray, "N"]) -> float | None:
  """Of those that are numbers; None if none is."""
  numbers = column[np.isfinite(column)]
  return float(numbers.mean()) if len(numbers) else None


def _told(column: Float[np.ndarray, "N"]) -> str:
  return percent(_mean(column))
