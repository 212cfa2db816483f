"""DINO, DINOv2 (without and with registers) and DINOv3, of rotated positions.

References: DINO (Caron et al., 2021), DINOv2 (Oquab et al., 2024), registers
(Darcet et al., 2024), DINOv3 (Simeoni et al., 2025); sizes as in the authors'
released code and weights.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from visual_memory.data.preprocess import PRESETS, Preprocess
from visual_memory.encoders.families import plain_vit
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.families.plain_vit import read_config
from visual_memory.encoders.published.naming import (
  Naming,
  Source,
  linear,
  norm,
  patch_embed,
  same,
)
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


_BLOCK = "blocks.{i}"


def _tower(
  dim: int, depth: int, num_heads: int, mlp_dim: int, **changes: Any
) -> ViTConfig:
  fields = {
    "patch_size": 16,
    "dim": dim,
    "depth": depth,
    "num_heads": num_heads,
    "mlp_dim": mlp_dim,
    "image_size": 224,
    "grid": 14,
    "num_registers": 4,
    "layer_scale": True,
    "eps": 1e-5,
    "rope": True,
  }
  return ViTConfig(**(fields | changes))


def _hub(**mlp: str | tuple[str, ...]) -> Naming:
  """The released .pth: the key's bias is masked."""
  qkv = f"{_BLOCK}.attn.qkv"
  return Naming(
    "hub",
    {
      **same(class_token="cls_token", registers="storage_tokens"),
      **patch_embed("patch_embed.proj"),
      **norm("norm", "norm"),
      **norm(f"{_BLOCK}.norm1", f"{_BLOCK}.norm1"),
      **norm(f"{_BLOCK}.norm2", f"{_BLOCK}.norm2"),
      f"{qkv}.kernel": Source((f"{qkv}.weight",), "linear"),
      f"{qkv}.bias": Source((f"{qkv}.bias", f"{qkv}.bias_mask"), "masked"),
      **linear(f"{_BLOCK}.attn.proj", f"{_BLOCK}.attn.proj"),
      f"{_BLOCK}.scale1": Source((f"{_BLOCK}.ls1.gamma",)),
      f"{_BLOCK}.scale2": Source((f"{_BLOCK}.ls2.gamma",)),
      **_mlp(f"{_BLOCK}.mlp", **mlp),
    },
  )


def _hf(**mlp: str | tuple[str, ...]) -> Naming:
  """Hugging Face's DINOv3ViTModel: keys have no bias."""
  layer = "layer.{i}"  # transformers 5 writes "model." before it.
  heads = [f"{layer}.attention.{part}_proj" for part in "qkv"]
  qkv = f"{_BLOCK}.attn.qkv"
  return Naming(
    "hf",
    {
      **same(
        class_token="embeddings.cls_token",
        registers="embeddings.register_tokens",
      ),
      **patch_embed("embeddings.patch_embeddings"),
      **norm("norm", "norm"),
      **norm(f"{_BLOCK}.norm1", f"{layer}.norm1"),
      **norm(f"{_BLOCK}.norm2", f"{layer}.norm2"),
      f"{qkv}.kernel": Source(tuple(f"{h}.weight" for h in heads), "linear"),
      f"{qkv}.bias": Source((f"{heads[0]}.bias", f"{heads[2]}.bias"), "gapped"),
      **linear(f"{_BLOCK}.attn.proj", f"{layer}.attention.o_proj"),
      f"{_BLOCK}.scale1": Source((f"{layer}.layer_scale1.lambda1",)),
      f"{_BLOCK}.scale2": Source((f"{layer}.layer_scale2.lambda1",)),
      **_mlp(f"{layer}.mlp", **mlp),
    },
  )


def _mlp(
  name: str, *, fc1: str | tuple[str, ...], fc2: str
) -> dict[str, Source]:
  first = (fc1,) if isinstance(fc1, str) else fc1
  return {
    **linear(f"{_BLOCK}.mlp.fc1", *(f"{name}.{part}" for part in first)),
    **linear(f"{_BLOCK}.mlp.fc2", f"{name}.{fc2}"),
  }


def _read_config(config: Mapping[str, Any]) -> Model | None:
  """The model of a transformers config.json."""
  if config.get("model_type") != "dinov3_vit":
    return None
  given = {**_DINOV3_DEFAULTS, **config}
  side, patch = given["image_size"], given["patch_size"]
  gated, act = given["use_gated_mlp"], given["hidden_act"]
  if gated and act != "silu":
    raise ValueError(f"A gated layer with {act!r} is not known, only 'silu'.")
  return Model(
    image=_tower(
      given["hidden_size"],
      given["num_hidden_layers"],
      given["num_attention_heads"],
      given["intermediate_size"],
      patch_size=patch,
      image_size=side,
      grid=side // patch,
      num_registers=given["num_register_tokens"],
      eps=given["layer_norm_eps"],
      act="gelu" if gated else act,  # A gate's own is no choice.
      ffn="swiglu" if gated else "mlp",
      qkv_bias=given["query_bias"],
    ),
    preprocess=_PREPROCESS,
  )


_DINOV3_DEFAULTS = {
  # What transformers takes where a config.json is silent.
  "hidden_size": 384,
  "num_hidden_layers": 12,
  "num_attention_heads": 6,
  "intermediate_size": 1536,
  "patch_size": 16,
  "image_size": 224,
  "num_register_tokens": 0,
  "layer_norm_eps": 1e-5,
  "hidden_act": "gelu",
  "use_gated_mlp": False,
  "query_bias": True,
}
_PREPROCESS = Preprocess(
  resize=224, crop=224, interpolation="bilinear", long_side="square"
)
_GATED = {"ffn": "swiglu"}
_TOWERS = {
  "vits16": _tower(384, 12, 6, 1536),
  "vits16plus": _tower(384, 12, 6, 1536, **_GATED),
  "vitb16": _tower(768, 12, 12, 3072),
  "vitl16": _tower(1024, 24, 16, 4096),
  "vith16plus": _tower(1280, 32, 20, 5120, **_GATED),
  "vit7b16": _tower(4096, 40, 32, 8192, qkv_bias=False, **_GATED),
}

DINOV3 = Family(
  title="DINOv3",
  source="Meta AI, github.com/facebookresearch/dinov3; access on request",
  license="DINOv3 License",
  models={
    f"dinov3_{name}": Model(
      image=tower,
      preprocess=_PREPROCESS,
      hub=f"facebook/dinov3-{name}-pretrain-lvd1689m",
    )
    for name, tower in _TOWERS.items()
  },
  image=(
    _hub(fc1="fc1", fc2="fc2"),
    _hub(fc1=("w1", "w2"), fc2="w3"),
    _hf(fc1="up_proj", fc2="down_proj"),
    _hf(fc1=("gate_proj", "up_proj"), fc2="down_proj"),
  ),
  unused=(r"rope_embed\.periods", r"local_cls_norm\.(weight|bias)"),
  read_config=_read_config,
)
