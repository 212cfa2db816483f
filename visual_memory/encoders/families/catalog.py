"""Every published encoder: by its name, by a repository, from a file.

  model = MODELS["dinov2_vits14"]
  loaded = load("dinov2_vits14", "dinov2_vits14_pretrain.pth")
  loaded = load("dinov2_vits14")                  # downloads once
  loaded = load("facebook/dinov2-small")          # what its config.json says
  loaded.model.image, loaded.params

What a repository says of itself (config.json, open_clip_config.json,
preprocessor_config.json) is believed: sizes, activation, preprocessing. A file
alone has the settings of its name, as the origin of its layout runs them.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from visual_memory import checkpoints
from visual_memory.encoders.families import (
  clip,
  clip_resnet,
  dino,
  open_clip,
  plain_vit,
  siglip,
)
from visual_memory.encoders.families import family as family_lib
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.published import convert, params, places
from visual_memory.encoders.published.naming import Naming
from visual_memory.encoders.published.places import Place
from visual_memory.encoders.settings import ResNetConfig, ViTConfig

FAMILIES: dict[str, Family] = {
  "dinov2": dino.DINOV2,
  "dino": dino.DINO,
  "clip": clip.OPENAI_CLIP,
  "clip_resnet": clip_resnet.CLIP_RESNET,
  "open_clip": open_clip.OPEN_CLIP,
  "siglip": siglip.SIGLIP,
  "dinov3": dino.DINOV3,
  "plain_vit": plain_vit.PLAIN_VIT,
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

_BY_CONFIG = (
  "dinov2",
  "dinov3",
  "clip",
  "clip_resnet",
  "siglip",
  "plain_vit",
)
"""The families that tell from a config.json whether a model is theirs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """A model and where its files are, before they are read.

  Attributes:
    name: one of MODELS, or one made of the family and the sizes.
    family: to which it belongs.
    model: its settings, as its repository has them.
    place: its files; None for a checkpoint of ours at `path`.
    path: as it was given.
    is_described: whether the repository itself said what it is.
  """

  name: str
  family: Family
  model: Model
  place: Place | None
  path: str | os.PathLike
  is_described: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
  """A published image tower with its weights.

  Attributes:
    name: one of MODELS, or one made of the family and the sizes.
    model: its settings, as the origin of the file runs them.
    params: nested dicts of float32 host arrays that `vit.forward`, or
      `resnet.forward`, takes.
  """

  name: str
  model: Model
  params: dict[str, Any]


def load(name: str, weights: str | os.PathLike | None = None) -> Loaded:
  """A published image tower.

  Args:
    name: one of MODELS, or a directory or repository that says what it is.
    weights: for one of MODELS, its file, directory or hub id; None downloads.

  Raises:
    ValueError: unknown name; a file of no known format, damaged, or holding
      something other than tensors; another model's weights (says which).
    FileNotFoundError: there is no such file or directory.
    OSError: it cannot be downloaded.
    ImportError: the format needs an extra that is not installed.
  """
  from visual_memory.encoders import resnet, vit

  found = find(name, weights)
  config = found.model.image
  network = resnet if isinstance(config, ResNetConfig) else vit
  tower = read_tower(
    found,
    template=network.shapes(config),
    namings=found.family.image,
    others=found.family.text,
  )
  model = found.model
  if not found.is_described:
    model = found.family.as_origin(model, tower.origin)
  return Loaded(name=found.name, model=model, params=tower.params)


def find(name: str, weights: str | os.PathLike | None = None) -> Found:
  """The model of a name or a repository, and its files; see `load`."""
  if name not in MODELS:
    if weights is not None:
      raise ValueError(
        f"There is no published encoder {name!r}; there are:"
        f" {', '.join(MODELS)}."
      )
    return _find_by_config(name)
  family, model = FAMILY_OF[name], MODELS[name]
  if weights is None:
    weights = fetch(name) if model.address else model.hub
  common = {"name": name, "family": family, "path": weights}
  if checkpoints.is_checkpoint(weights):
    return Found(**common, model=model, place=None, is_described=False)
  own, place = _described(places.find_place(weights), family)
  if own is not None:
    _check_alike(name, model.image, own.image, place)
  return Found(
    **common, model=own or model, place=place, is_described=own is not None
  )


def read_tower(
  found: Found, *, template: Any, namings: tuple, others: tuple
) -> convert.Converted:
  """The params of one tower of what was found.

  Raises:
    ValueError: as `load`; tensors that do not fit say whose they may be.
  """
  weights = found.path if found.place is None else found.place
  try:
    return params.load_tower(
      weights,
      template=template,
      namings=namings,
      others=others,
      unused=found.family.unused,
    )
  except convert.DoesNotFitError as error:
    if likely := looks_like(params.read(weights)):
      raise convert.DoesNotFitError(f"{error}\n{likely}") from error
    raise


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
  return places.fetch(MODELS[name].address, name=name)


def looks_like(tensors: Mapping[str, np.ndarray]) -> str:
  """One line on what image tower these tensors are, or "" if none is seen."""
  names = [convert.without_prefix(name) for name in tensors]
  shapes = dict(zip(names, (t.shape for t in tensors.values()), strict=True))
  size = clip_resnet.size_of(shapes) or _vit_size(shapes)
  if size is None:
    return ""
  registers = any("register_tokens" in n or "storage" in n for n in names)
  alike = [
    name
    for name, model in MODELS.items()
    if _size_of(model.image) == size
    and (model.image.num_registers > 0) == registers
    and any(_names_fit(names, naming) for naming in FAMILY_OF[name].image)
  ]
  hint = f": {', '.join(alike[:6])}?" if alike else "."
  dim, depth, patch = size
  return (
    f"The file is {dim} wide with {depth} blocks and patches of {patch}"
    f" pixels{hint}"
  )


def _vit_size(
  shapes: Mapping[str, tuple[int, ...]],
) -> tuple[int, int, int] | None:
  """Width, blocks and patch of the transformer of these tensors, if any."""
  kernels = [s for s in shapes.values() if len(s) == 4 and s[1] == 3]
  numbers = [
    int(match[1])
    for name in shapes
    if not re.match(r"(text|transformer)", name)
    and (match := re.search(r"(?:blocks|layers?)\.(\d+)\.", name))
  ]
  if not kernels or not numbers:
    return None
  dim, _, patch, _ = kernels[0]
  return dim, 1 + max(numbers), patch


def _size_of(config: ViTConfig | ResNetConfig) -> tuple[int, int, int]:
  return config.dim, config.depth, config.patch_size


def _names_fit(names: list[str], naming: Naming) -> bool:
  """Whether the first block's attention, or the stem, is called as in this."""
  known = ("blocks.{i}.attn.qkv.kernel", "conv1.kernel")
  source = next(naming.sources[k] for k in known if k in naming.sources)
  return all(name.replace("{i}", "0") in names for name in source.tensors)


def _find_by_config(name: str) -> Found:
  """The model that a directory or a repository says it is."""
  place = places.find_place(name)
  known = {model.hub: key for key, model in MODELS.items() if model.hub}
  if place.hub in known:
    return find(known[place.hub], place.hub)
  for key in _BY_CONFIG:
    family = FAMILIES[key]
    model, place = _described(place, family)
    if model is not None:
      size = "x".join(map(str, _size_of(model.image)))
      return Found(
        name=f"{key}_{size}", family=family, model=model, place=place,
        path=name, is_described=True,
      )  # fmt: skip
  config = place.json("config.json") or {}
  kind = config.get("model_type") or config.get("architecture")
  said = f"its config.json says {kind!r}" if kind else "it has no config.json"
  raise ValueError(
    f"{name} is no encoder that is known here ({said}). If you know what it is,"
    f" pass it as weights of one of: {', '.join(MODELS)}."
  )


def _described(place: Place, family: Family) -> tuple[Model | None, Place]:
  """What a repository says of itself, if it is of this family.

  The place looks first for the weights that the description is of: timm keeps
  an image tower of its own layout beside open_clip's towers.
  """
  for file in ("config.json", "open_clip_config.json"):
    config = place.json(file)
    try:
      model = family.read_config(config) if config else None
    except (KeyError, TypeError, AttributeError) as error:
      raise ValueError(
        f"{file} of {place.name} cannot be understood: {error!r}."
      ) from error
    if model is None:
      continue
    if file == "config.json" and "model_type" in config:
      own = place.json("preprocessor_config.json")
      preprocess = family_lib.from_transformers(own) if own else None
      model = dataclasses.replace(
        model, preprocess=preprocess or model.preprocess
      )
    if file == "open_clip_config.json":
      names = (*places.OPEN_CLIP, *places.HUGGING_FACE)
      place = dataclasses.replace(place, names=names)
    return model, place
  return None, place


def _check_alike(
  name: str,
  ours: ViTConfig | ResNetConfig,
  theirs: ViTConfig | ResNetConfig,
  place: Place,
) -> None:
  """Raises ValueError if a repository says that it is of another size."""
  shape = ["dim", "depth", "patch_size", "grid", "num_registers", "mlp_dim"]
  if isinstance(ours, ResNetConfig):
    shape = ["dim", "layers", "image_size", "projection"]
  differing = [
    f"{field} {getattr(theirs, field)} (not {getattr(ours, field)})"
    for field in shape
    if getattr(ours, field) != getattr(theirs, field)
  ]
  if differing:
    alike = [
      other
      for other, model in MODELS.items()
      if _size_of(model.image) == _size_of(theirs)
      and model.image.num_registers == theirs.num_registers
    ]
    hint = f"\nIt may be: {', '.join(alike[:6])}." if alike else ""
    raise ValueError(
      f"{place.name} is not {name}: it has {', '.join(differing)}.{hint}"
    )
