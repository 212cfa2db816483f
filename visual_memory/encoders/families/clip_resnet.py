"""The ResNets of OpenAI's CLIP, in the layout of its code and of open_clip.

Reference: Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision" (ICML 2021); sizes as in the released weights.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from visual_memory.data.preprocess import PRESETS
from visual_memory.encoders.families import family
from visual_memory.encoders.families.clip import (
  OPENAI_TEXT,
  open_clip_text,
  openai_file,
)
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.published.naming import (
  Naming,
  Source,
  linear,
  same,
)
from visual_memory.encoders.settings import ResNetConfig, TextConfig


def _conv(leaf: str, conv: str, norm: str) -> dict[str, Source]:
  """A convolution and its batch normalization."""
  return {
    f"{leaf}.kernel": Source((f"{conv}.weight",), "conv"),
    f"{leaf}.scale": Source((f"{norm}.weight",)),
    f"{leaf}.bias": Source((f"{norm}.bias",)),
    f"{leaf}.mean": Source((f"{norm}.running_mean",)),
    f"{leaf}.variance": Source((f"{norm}.running_var",)),
  }


def _three(leaf: str, tower: str) -> dict[str, Source]:
  """The three convolutions of the stem or of a block."""
  return {
    name: source
    for i in (1, 2, 3)
    for name, source in _conv(
      f"{leaf}conv{i}", f"{tower}.conv{i}", f"{tower}.bn{i}"
    ).items()
  }


def _stage(number: int) -> dict[str, Source]:
  leaf = f"stages.{number}.blocks.{{i}}."
  block = f"visual.layer{number + 1}.{{i}}"
  beside = f"{block}.downsample"
  return {
    **_three(leaf, block),
    **_conv(f"{leaf}shortcut", f"{beside}.0", f"{beside}.1"),
  }


_POOL = "visual.attnpool"
_IMAGE = Naming(
  "openai",
  {
    **_three("", "visual"),
    **{k: v for number in range(4) for k, v in _stage(number).items()},
    **same(positions=f"{_POOL}.positional_embedding"),
    **linear("pool.qkv", *(f"{_POOL}.{part}_proj" for part in "qkv")),
    **linear("pool.proj", f"{_POOL}.c_proj"),
  },
)

_SIZES = {
  # name: blocks of the stages, width, pixels, embedding, width of the text
  # tower, sha256 of OpenAI's file.
  "50": (
    (3, 4, 6, 3), 64, 224, 1024, 512,
    "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
  ),
  "101": (
    (3, 4, 23, 3), 64, 224, 512, 512,
    "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
  ),
  "50x4": (
    (4, 6, 10, 6), 80, 288, 640, 640,
    "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd",
  ),
  "50x16": (
    (6, 8, 18, 8), 96, 384, 768, 768,
    "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa",
  ),
  "50x64": (
    (3, 15, 36, 10), 128, 448, 1024, 1024,
    "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c",
  ),
}  # fmt: skip


def _model(name: str) -> Model:
  layers, width, side, dim, text_width, sha256 = _SIZES[name]
  return Model(
    image=ResNetConfig(
      layers=layers, width=width, image_size=side, projection=dim
    ),
    text=TextConfig(
      width=text_width, depth=12, num_heads=text_width // 64, dim=dim
    ),
    preprocess=dataclasses.replace(PRESETS["clip"], resize=side, crop=side),
    address=openai_file(f"RN{name}.pt", sha256),
    hub=f"timm/resnet{name}_clip.openai",
  )


def read_config(config: Mapping[str, Any]) -> Model | None:
  """The model of an open_clip_config.json, if its image tower is a ResNet."""
  settings = config.get("model_cfg", {})
  image = settings.get("vision_cfg", {})
  if not isinstance(image.get("layers"), list):
    return None
  return Model(
    image=ResNetConfig(
      layers=tuple(image["layers"]),
      width=image["width"],
      image_size=image.get("image_size", 224),
      projection=settings["embed_dim"],
    ),
    text=open_clip_text(settings),
    preprocess=family.from_open_clip(config),
  )


def size_of(
  shapes: Mapping[str, tuple[int, ...]],
) -> tuple[int, int, int] | None:
  """Width, blocks and patch of the ResNet of these tensors, if any."""
  blocks = {
    match[0]
    for name in shapes
    if (match := re.match(r"visual\.layer\d\.\d+\.", name))
  }
  kernel = shapes.get("visual.layer1.0.conv1.weight")
  return (32 * kernel[0], len(blocks), 32) if kernel else None


CLIP_RESNET = Family(
  title="CLIP, ResNet",
  source="OpenAI, github.com/openai/CLIP (LICENSE)",
  license="MIT",
  models={f"clip_rn{name}": _model(name) for name in _SIZES},
  image=(_IMAGE,),
  text=(OPENAI_TEXT,),
  unused=(r".*\.num_batches_tracked",),  # How long training averaged.
  read_config=read_config,
)
