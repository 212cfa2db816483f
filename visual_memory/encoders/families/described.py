"""Preprocessing as a repository describes it, in three dialects.

preprocess = from_transformers(place.json("preprocessor_config.json"))
"""

from collections.abc import Mapping
from typing import Any

from visual_memory.data.preprocess import Preprocess

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
