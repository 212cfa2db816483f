"""A pretrained backbone as an encoder file that `load_encoder` reads.

path = export_backbone(recipe, params, "work/procedural_vit", training={...})
encoder = load_encoder("procedural", weights=path)
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from visual_memory.data.preprocess import square
from visual_memory.encoders import encoder_files
from visual_memory.pretraining.recipe import Recipe

LICENCE = (
  "Made from programs alone: no photograph, text or model of anyone else went"
  " into these weights. They are under the licence of this package."
)


def export_backbone(
  recipe: Recipe,
  params: Any,
  path: str | os.PathLike,
  *,
  training: Mapping[str, Any],
) -> pathlib.Path:
  """Writes an encoder's two files; returns the path of the weights.

  Args:
    recipe: of the run.
    params: of its teacher's backbone.
    path: where to, without or with ".npz".
    training: plain values for the card: data, seeds, steps, scores, how to
      reproduce and to continue.
  """
  card = {
    "kind": "vit",
    "config": dataclasses.asdict(recipe.backbone),
    "pooling": recipe.pooling,
    "preprocess": square(recipe.views.global_size).to_dict(),
    "recipe": recipe.to_dict(),
    "training": dict(training),
    "licence": LICENCE,
  }
  return encoder_files.write(path, jax.device_get(params), card)
