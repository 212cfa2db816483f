"""What is known of a family of published encoders: one table each.

preprocess = from_transformers(place.json("preprocessor_config.json"))
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders.published.naming import Naming
from visual_memory.encoders.published.places import Published
from visual_memory.encoders.settings import (
  ResNetConfig,
  TextConfig,
  ViTConfig,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
  """One published encoder: an image tower, maybe with its text tower.

  Attributes:
    image: the image tower's settings.
    preprocess: that with which its authors evaluate it.
    text: the text tower's settings, or None.
    address: the file of its weights, or None where they are on the hub alone.
    hub: the repository on the Hugging Face hub that has them, or "".
    license: of these weights, where it is not the family's.
  """

  image: ViTConfig | ResNetConfig
  preprocess: Preprocess
  text: TextConfig | None = None
  address: Published | None = None
  hub: str = ""
  license: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """Models that differ in size alone, and what their files look like.

  Attributes:
    title: what its authors call it.
    source: who they are, and where they publish.
    license: of the weights.
    models: by the name that `load_encoder` knows.
    image: namings of the image tower.
    text: namings of the text tower.
    unused: patterns of tensors that its files hold and no encoder needs.
    as_origin: from a model and the origin of a file's layout to the model as
      that origin's own code runs it.
    read_config: from a repository's description (its config.json) to the model
      it describes, or None if it is of another family.
  """

  title: str
  source: str
  license: str
  models: Mapping[str, Model]
  image: tuple[Naming, ...]
  text: tuple[Naming, ...] = ()
  unused: tuple[str, ...] = ()
  as_origin: Callable[[Model, str], Model] = lambda model, origin: model
  read_config: Callable[[Mapping[str, Any]], Model | None] = lambda config: None


_PILLOW = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters."""


def from_transformers(config: Mapping[str, Any]) -> Preprocess | None:
  """That of a preprocessor_config.json, or None if it has no fixed size.

  transformers crops at the smaller half of the margin, torchvision at the half
  rounded to even: a pixel, where the margin is odd.

  Raises:
    ValueError: a filter that Pillow does not have.
  """
  size = config.get("size", 224)
  kind = config.get(
    "image_processor_type", config.get("feature_extractor_type", "")
  )
  if isinstance(size, int):  # Of before 2022: what it means is the class's.
    shortest = "CLIP" in kind or config.get("do_center_crop", False)
    size = {"shortest_edge": size} if shortest else {"height": size}
  crop = config.get("crop_size", size)
  crop = crop.get("height") if isinstance(crop, Mapping) else crop
  square = "height" in size
  resize = size["height"] if square else size.get("shortest_edge")
  if not config.get("do_center_crop", not square):
    crop = resize if square else None
  if resize is None or crop is None:
    return None
  filter_number = config.get("resample", 3)
  if filter_number not in _PILLOW:
    raise ValueError(
      f"The images would be resized by Pillow's filter {filter_number}, which"
      f" is not known here; known: {_PILLOW}."
    )
  return Preprocess(
    resize=resize,
    crop=crop,
    interpolation=_PILLOW[filter_number],
    long_side="square" if square else "truncate",
    crop_offset="floor",
    **_statistics(config.get("image_mean"), config.get("image_std")),
  )


def from_open_clip(config: Mapping[str, Any]) -> Preprocess:
  """That of an open_clip_config.json."""
  preprocess = config.get("preprocess_cfg", {})
  side = config["model_cfg"]["vision_cfg"].get("image_size", 224)
  squash = preprocess.get("resize_mode", "shortest") == "squash"
  return Preprocess(
    resize=side,
    crop=side,
    interpolation=preprocess.get("interpolation", "bicubic"),
    long_side="square" if squash else "truncate",
    **_statistics(preprocess.get("mean"), preprocess.get("std")),
  )


def from_timm(config: Mapping[str, Any]) -> Preprocess:
  """That of the pretrained_cfg in a timm repository's config.json."""
  side = config.get("input_size", (3, 224, 224))[-1]
  squash = config.get("crop_mode", "center") == "squash"
  return Preprocess(
    resize=int(side / config.get("crop_pct", 0.875)),
    crop=side,
    interpolation=config.get("interpolation", "bicubic"),
    long_side="square" if squash else "truncate",
    **_statistics(config.get("mean"), config.get("std")),
  )


def _statistics(mean: Any, std: Any) -> dict[str, tuple[float, ...]]:
  """Channel statistics, where they are given; else ImageNet's."""
  given = {"mean": mean, "std": std}
  return {key: tuple(value) for key, value in given.items() if value}
