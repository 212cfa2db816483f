"""Every published encoder by its name, and its params from a file.

model = MODELS["dinov2_vits14"]
loaded = load("dinov2_vits14", "dinov2_vits14_pretrain.pth")
loaded = load("dinov2_vits14", "facebook/dinov2-small")    # hub id, online
loaded = load("dinov2_vits14", fetch("dinov2_vits14"))     # downloads once
"""

import os
import pathlib
from typing import Any

from visual_memory.encoders import vit
from visual_memory.encoders.families import clip, dino
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.published import download, params

FAMILIES: dict[str, Family] = {
  "dinov2": dino.DINOV2,
  "dino": dino.DINO,
  "clip": clip.OPENAI_CLIP,
}
"""Every family, in the order in which encoders are listed."""

FAMILY_OF: dict[str, Family] = {
  name: family for family in FAMILIES.values() for name in family.models
}
"""The family of each published encoder."""

MODELS: dict[str, Model] = {
  name: family.models[name] for name, family in FAMILY_OF.items()
}
"""Every published encoder, by the name that `load_encoder` knows."""


def load(name: str, weights: str | os.PathLike) -> dict[str, Any]:
  """The params of a published image tower, as float32 host arrays.

  Args:
    name: a key of MODELS.
    weights: a file, a directory or a hub id.

  Returns:
    Nested dicts that `vit.forward` takes. float16 values are widened exactly.

  Raises:
    ValueError: unknown name; a file of no known format, damaged, or holding
      something other than tensors; tensors missing, unexpected or misshapen.
    FileNotFoundError: there is no such file or directory.
    ImportError: the format needs an extra that is not installed.
  """
  if name not in MODELS:
    known = ", ".join(MODELS)
    raise ValueError(f"Unknown image tower {name!r}; known: {known}.")
  family = FAMILY_OF[name]
  return params.load_tower(
    weights,
    template=vit.shapes(MODELS[name].image),
    namings=family.image,
    others=family.text,
    unused=family.unused,
  ).params


def fetch(name: str) -> pathlib.Path:
  """The local path of a published checkpoint, downloaded if not yet here.

  Raises:
    ValueError: unknown name, or a file whose sha256 is not the right one.
    OSError: the address cannot be reached, or the download broke off.
  """
  if name not in MODELS:
    raise ValueError(
      f"No weights are published for {name!r}; known: {', '.join(MODELS)}."
    )
  return download.fetch(MODELS[name].address, name=name)
