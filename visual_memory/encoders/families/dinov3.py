"""DINOv3: vision transformers whose positions are rotations.

Reference: Simeoni et al., "DINOv3" (2025); sizes as in the released code.
"""

from collections.abc import Mapping
from typing import Any

from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.published.naming import (
  Naming,
  Source,
  linear,
  norm,
  patch_embed,
  same,
)
from visual_memory.encoders.settings import ViTConfig

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
  given = {**_DEFAULTS, **config}
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


_DEFAULTS = {
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
