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


def export_beside(
  vit_file: str | os.PathLike,
  dictionary_file: str | os.PathLike,
  path: str | os.PathLike,
  *,
  weight: float,
  about: Mapping[str, Any],
) -> pathlib.Path:
  """Writes an encoder made of two others; returns the path of the weights.

  Args:
    vit_file: that of `export_backbone`.
    dictionary_file: that of `dictionary.export_dictionary`.
    path: where to, without or with ".npz".
    weight: of the transformer's embedding beside the dictionary's.
    about: plain values for the card: what it scored.

  Raises:
    ValueError: files of other kinds, or sizes that do not fit.
  """
  tokens, card = encoder_files.read(vit_file)
  words, dictionary = encoder_files.read(dictionary_file)
  kinds = card["kind"], dictionary["kind"]
  if kinds != ("vit", "patches"):
    raise ValueError(
      f"A vit and a dictionary (patches) are wanted; these are {kinds}."
    )
  side = dictionary["preprocess"]["crop"]
  if card["preprocess"]["crop"] % side:
    raise ValueError(
      f"The transformer sees {card['preprocess']['crop']} pixels, no multiple"
      f" of the dictionary's {side}."
    )
  kept = ("config", "pooling", "preprocess", "recipe", "training", "licence")
  made = {
    "kind": "beside",
    "weight": weight,
    **{name: card[name] for name in kept if name in card},
    "dictionary": {
      "side": side,
      "config": dictionary["config"],
      "recipe": dictionary.get("recipe"),
      "training": dictionary.get("training"),
    },
    **about,
  }
  params = {"vit": tokens, "dictionary": words}
  return encoder_files.write(path, params, made)
