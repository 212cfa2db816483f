"""Everything that decides what a pretraining run computes, as plain values.

  recipe = Recipe(backbone=vit("vit_s", image_size=224, patch_size=16), ...)
  differences(recipe.to_dict(), other.to_dict())

`configs/pretrain.py` holds the published values.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from visual_memory.encoders.outputs import POOLINGS
from visual_memory.encoders.patch_grid import patch_grid
from visual_memory.encoders.settings import ViTConfig
from visual_memory.pretraining.optimizer import (
  OptimizerSettings,
  learning_rate_schedule,
)
from visual_memory.pretraining.views import ViewSettings

Plain = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadSettings:
  """The projection head.

  Attributes:
    hidden: width of its hidden layers.
    bottleneck: dimension of its unit vectors.
    prototypes: K of DINO's last layer; unused by the contrastive objective.
  """

  hidden: int
  bottleneck: int
  prototypes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherSettings:
  """The teacher: a moving average of the student, whose backbone is kept.

  Attributes:
    momentum: at the beginning of its cosine.
    final_momentum: at the end.
    temperature: of its softmax, after warm-up.
    first_temperature: at the beginning of warm-up.
    temperature_steps: length of that warm-up.
    center_momentum: what is kept of DINO's center in a step.
  """

  momentum: float
  final_momentum: float
  temperature: float
  first_temperature: float
  temperature_steps: int
  center_momentum: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """One pretraining run; `checked` says what may not be combined.

  Attributes:
    objective: "dino", or "contrastive": the supervised contrastive loss with
      the labels of the images (program ids) as classes.
    backbone: the vision transformer.
    pooling: what the head sees of its tokens; a key of `outputs.POOLINGS`.
    drop_path: probability of dropping a residual branch of the last block of
      the student; it rises linearly from zero at the first.
    head: the projection head.
    views: the views of an image.
    optimizer: of the student.
    teacher: of the teacher.
    temperature: of the student's softmax or of the contrastive loss.
    batch_size: images per step, over all devices.
    micro_batches: parts into which a batch is split to save memory; gradients
      are summed. DINO's loss stays the same; the contrastive loss sees fewer
      negatives.
    precision: "float32" or "bfloat16", as `transformer` has it.
    remat: whether blocks are computed again in the backward pass.
    seed: of params, views and the order of the data.
  """

  objective: str
  backbone: ViTConfig
  pooling: str
  drop_path: float
  head: HeadSettings
  views: ViewSettings
  optimizer: OptimizerSettings
  teacher: TeacherSettings
  temperature: float
  batch_size: int
  micro_batches: int
  precision: str
  remat: bool
  seed: int

  def to_dict(self) -> Plain:
    """Every value under its name, nested."""
    return dataclasses.asdict(self)


def checked(recipe: Recipe) -> Recipe:
  """The recipe itself.

  Raises:
    ValueError: a choice that does not exist, or values that contradict.
  """
  choices = {
    "objective": (recipe.objective, ("dino", "contrastive")),
    "pooling": (recipe.pooling, tuple(POOLINGS)),
    "precision": (recipe.precision, ("float32", "bfloat16")),
  }
  for name, (value, known) in choices.items():
    if value not in known:
      raise ValueError(
        f"{name} cannot be {value!r}; it can be: {', '.join(known)}."
      )
  if recipe.micro_batches < 1 or recipe.batch_size % recipe.micro_batches:
    raise ValueError(
      f"A batch of {recipe.batch_size} images cannot be split into"
      f" {recipe.micro_batches} equal parts."
    )
  views = recipe.views
  sides = (views.global_size,) + (views.local_size,) * bool(views.num_local)
  for side in sides:
    patch_grid((side, side), recipe.backbone.patch_size)
  if not 0 <= recipe.drop_path < 1:
    raise ValueError(f"drop_path = {recipe.drop_path}: choose it from [0, 1).")
  learning_rate_schedule(recipe.optimizer)  # Refuses more warm-up than steps.
  return recipe


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """One line for each value that two nested mappings do not share."""
  old, new = _flat(old), _flat(new)
  return [
    f"{name}: {old.get(name, 'absent')!r} -> {new.get(name, 'absent')!r}"
    for name in sorted({*old, *new})
    if name not in old or name not in new or old[name] != new[name]
  ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Plain:
  """Nested values under dotted names, tuples as lists (as JSON has them)."""
  flat: Plain = {}
  for name, value in values.items():
    if isinstance(value, Mapping):
      flat |= _flat(value, f"{prefix}{name}.")
    else:
      flat[prefix + name] = list(value) if isinstance(value, tuple) else value
  return flat
