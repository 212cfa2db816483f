"""DINO and DINOv2, without and with registers.

References: DINO (Caron et al., 2021), DINOv2 (Oquab et al., 2024), registers
(Darcet et al., 2024); sizes as in the authors' released code and weights.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from visual_memory.data.preprocess import PRESETS
from visual_memory.encoders.families import plain_vit
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.families.plain_vit import read_config
from visual_memory.encoders.published.places import Published
from visual_memory.encoders.settings import ViTConfig, vit

_ROOT = "https://dl.fbaipublicfiles.com"
_SIZES = {"s": "small", "b": "base", "l": "large", "g": "giant"}


def _dinov2_tower(width: str, *, registers: bool) -> ViTConfig:
  """DINOv2: trained at 518 pixels (37 patches a side), used at 224."""
  giant = {"ffn": "swiglu", "mlp_dim": 4096} if width == "g" else {}
  return vit(
    f"vit_{width}",
    image_size=224,
    patch_size=14,
    grid=37,
    layer_scale=True,
    num_registers=4 if registers else 0,
    # The two releases of the weights come with different rules.
    position_rule="antialias" if registers else "offset",
    **giant,
  )


def _dinov2(width: str, *, registers: bool) -> Model:
  name = f"dinov2_vit{width}14"
  file = f"{name}_reg4_pretrain.pth" if registers else f"{name}_pretrain.pth"
  hub = "dinov2-with-registers" if registers else "dinov2"
  return Model(
    image=_dinov2_tower(width, registers=registers),
    preprocess=PRESETS["dino"],
    address=Published(url=f"{_ROOT}/dinov2/{name}/{file}"),
    hub=f"facebook/{hub}-{_SIZES[width]}",
  )


def _dino(width: str, patch: int) -> Model:
  folder = f"dino_{ {'s': 'deitsmall', 'b': 'vitbase'}[width] }{patch}_pretrain"
  return Model(
    image=vit(f"vit_{width}", image_size=224, patch_size=patch),
    preprocess=PRESETS["dino"],
    address=Published(url=f"{_ROOT}/dino/{folder}/{folder}.pth"),
    hub=f"facebook/dino-vit{width}{patch}",
  )


IMAGE = (
  plain_vit.hub("hub"),
  plain_vit.hub("hub", fc1="w12", fc2="w3"),
  plain_vit.hf_dinov2("fc1", "fc2"),
  plain_vit.hf_dinov2("weights_in", "weights_out"),
  plain_vit.hf_vit(),
)
"""The namings that a DINO or DINOv2 checkpoint may follow."""


def _as_origin(model: Model, origin: str) -> Model:
  """The model as transformers runs it: other positions, other crops."""
  if origin != "hf":
    return model
  rule = "antialias" if model.image.num_registers else "plain"
  return dataclasses.replace(
    model,
    image=dataclasses.replace(model.image, position_rule=rule),
    preprocess=dataclasses.replace(model.preprocess, crop_offset="floor"),
  )


def _read_dinov2(config: Mapping[str, Any]) -> Model | None:
  """The model of a transformers config.json."""
  kind = config.get("model_type")
  if kind not in ("dinov2", "dinov2_with_registers"):
    return None
  given = {**_DEFAULTS, **config}
  dim, patch = given["hidden_size"], given["patch_size"]
  swiglu = given["use_swiglu_ffn"]
  hidden = int(dim * given["mlp_ratio"])
  with_registers = kind == "dinov2_with_registers"
  model = Model(
    image=ViTConfig(
      patch_size=patch,
      dim=dim,
      depth=given["num_hidden_layers"],
      num_heads=given["num_attention_heads"],
      mlp_dim=(int(hidden * 2 / 3) + 7) // 8 * 8 if swiglu else hidden,
      image_size=224 // patch * patch,
      grid=given["image_size"] // patch,
      act=given["hidden_act"],
      eps=given["layer_norm_eps"],
      ffn="swiglu" if swiglu else "mlp",
      layer_scale=True,
      qkv_bias=given["qkv_bias"],
      num_registers=given["num_register_tokens"] if with_registers else 0,
    ),
    preprocess=PRESETS["dino"],
  )
  return _as_origin(model, "hf")


_DEFAULTS = {
  # What transformers takes where a config.json is silent.
  "hidden_size": 768,
  "num_hidden_layers": 12,
  "num_attention_heads": 12,
  "mlp_ratio": 4,
  "patch_size": 14,
  "image_size": 224,
  "hidden_act": "gelu",
  "layer_norm_eps": 1e-6,
  "use_swiglu_ffn": False,
  "qkv_bias": True,
  "num_register_tokens": 4,
}

DINOV2 = Family(
  title="DINOv2",
  source="Meta AI, github.com/facebookresearch/dinov2 (MODEL_CARD.md)",
  license="Apache-2.0",
  models={
    **{f"dinov2_vit{w}14": _dinov2(w, registers=False) for w in _SIZES},
    **{f"dinov2_vit{w}14_reg": _dinov2(w, registers=True) for w in _SIZES},
  },
  image=IMAGE,
  as_origin=_as_origin,
  read_config=_read_dinov2,
)
DINO = Family(
  title="DINO",
  source="Meta AI, github.com/facebookresearch/dino",
  license="Apache-2.0",
  models={f"dino_vit{w}{p}": _dino(w, p) for w in "sb" for p in (8, 16)},
  image=IMAGE,
  as_origin=_as_origin,
  read_config=read_config,
)
