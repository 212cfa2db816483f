"""SigLIP and SigLIP 2 at fixed resolutions: image and text towers.

References: Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (ICCV
2023); Tschannen et al., "SigLIP 2" (2025); sizes as in big_vision.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders.families import family
from visual_memory.encoders.families.clip import hf_blocks, text_blocks
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.families.plain_vit import timm_blocks
from visual_memory.encoders.published.naming import (
  Naming,
  Source,
  fused_linear,
  linear,
  norm,
  patch_embed,
  positions,
  same,
)
from visual_memory.encoders.settings import TextConfig, ViTConfig, vit

_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_ACT, _EPS = "gelu_tanh", 1e-6

_SIZES = {
  # name: (ours, hidden layer of a block); the text tower is as large, except
  # that the giant has that of the shape-optimized one.
  "base": ("b", 3072),
  "large": ("l", 4096),
  "so400m": ("so400m", 4304),
  "giant-opt": ("gopt", 6144),
}
_TEXTS = {
  "base": (768, 12, 12, 3072),
  "large": (1024, 24, 16, 4096),
  "so400m": (1152, 27, 16, 4304),
  "giant-opt": (1152, 27, 16, 4304),
}


def _tower(size: str, patch: int, side: int) -> ViTConfig:
  width, mlp_dim = _SIZES[size]
  whole = side // patch * patch  # 384 pixels are 27 patches of 14, and 6 left.
  config = vit(
    f"vit_{width}", image_size=whole, patch_size=patch, mlp_dim=mlp_dim
  )
  return dataclasses.replace(config, image_size=side, **_own(side, patch))


def _own(side: int, patch: int) -> dict[str, Any]:
  return {
    "act": _ACT,
    "eps": _EPS,
    "class_token": False,
    "pool": "map",
    "position_rule": "plain",
    "ragged": side % patch != 0,
  }


def _siglip(size: str, patch: int, side: int, *, version: int) -> Model:
  width, depth, num_heads, mlp_dim = _TEXTS[size]
  image = _tower(size, patch, side)
  first_small = version == 1 and (size, side) == ("so400m", 224)
  prefix = "siglip" if version == 1 else "siglip2"
  return Model(
    image=image,
    text=TextConfig(
      width=width,
      depth=depth,
      num_heads=num_heads,
      mlp_dim=mlp_dim,
      dim=image.dim,
      vocabulary_size=32_000 if version == 1 else 256_000,
      context_length=16 if first_small else 64,
      **{**_TEXT, "tokenizer": prefix},
    ),
    preprocess=_square(side, "bicubic" if version == 1 else "bilinear"),
    hub=f"google/{prefix}-{size}-patch{patch}-{side}",
  )


_TEXT = {
  "act": _ACT,
  "eps": _EPS,
  "causal": False,
  "projection_bias": True,
  "logit_bias": True,
  "tokenizer": "siglip",
}


def _tokenizer(vocabulary_size: int) -> str:
  """SigLIP 2 has Gemma's vocabulary, the first one two smaller ones."""
  return "siglip2" if vocabulary_size >= 256_000 else "siglip"


def _square(side: int, interpolation: str) -> Preprocess:
  return Preprocess(
    resize=side,
    crop=side,
    interpolation=interpolation,
    long_side="square",
    **_HALF,
  )


_HF_IMAGE = Naming(
  "hf",
  {
    **positions("vision_model.embeddings.position_embedding.weight", skip=0),
    **patch_embed("vision_model.embeddings.patch_embedding"),
    **norm("norm", "vision_model.post_layernorm"),
    **hf_blocks("vision_model"),
    **same(pool__probe="vision_model.head.probe"),
    **fused_linear("pool.qkv", "vision_model.head.attention.in_proj"),
    **linear("pool.proj", "vision_model.head.attention.out_proj"),
    **norm("pool.norm", "vision_model.head.layernorm"),
    **linear("pool.mlp.fc1", "vision_model.head.mlp.fc1"),
    **linear("pool.mlp.fc2", "vision_model.head.mlp.fc2"),
  },
)
_HF_TEXT = Naming(
  "hf",
  {
    **same(
      token_embedding="text_model.embeddings.token_embedding.weight",
      position_embedding="text_model.embeddings.position_embedding.weight",
      logit_scale="logit_scale",
      logit_bias="logit_bias",
    ),
    **norm("norm", "text_model.final_layer_norm"),
    **hf_blocks("text_model"),
    **linear("projection", "text_model.head"),
  },
)


def _timm_image(prefix: str) -> Naming:
  """timm's ViT, alone or as the trunk of an open_clip file."""
  pool = f"{prefix}attn_pool"
  return Naming(
    "timm",
    {
      **positions(f"{prefix}pos_embed", skip=0),
      **patch_embed(f"{prefix}patch_embed.proj"),
      **norm("norm", f"{prefix}norm"),
      **timm_blocks(prefix),
      **same(pool__probe=f"{pool}.latent"),
      **linear("pool.qkv", f"{pool}.q", f"{pool}.kv"),
      **linear("pool.proj", f"{pool}.proj"),
      **norm("pool.norm", f"{pool}.norm"),
      **linear("pool.mlp.fc1", f"{pool}.mlp.fc1"),
      **linear("pool.mlp.fc2", f"{pool}.mlp.fc2"),
    },
  )


_OPEN_CLIP_TEXT = Naming(
  "openai",
  {
    **same(
      token_embedding="text.token_embedding.weight",
      position_embedding="text.positional_embedding",
      logit_scale="logit_scale",
      logit_bias="logit_bias",
    ),
    **norm("norm", "text.ln_final"),
    **text_blocks("text.transformer"),
    "projection.kernel": Source(("text.text_projection.weight",), "linear"),
    "projection.bias": Source(("text.text_projection.bias",)),
  },
)


def _read_config(config: Mapping[str, Any]) -> Model | None:
  """The model of a config.json, or of an open_clip_config.json."""
  if "model_cfg" in config:
    return _read_open_clip(config)
  if config.get("model_type") != "siglip":
    return None
  image = {**_BASE, **config.get("vision_config", {})}
  text = {
    **_BASE,
    "vocab_size": 32_000,
    "max_position_embeddings": 64,
    **config.get("text_config", {}),
  }
  side, patch = image["image_size"], image["patch_size"]
  act = {"gelu_pytorch_tanh": "gelu_tanh"}
  return Model(
    image=ViTConfig(
      patch_size=patch,
      dim=image["hidden_size"],
      depth=image["num_hidden_layers"],
      num_heads=image["num_attention_heads"],
      mlp_dim=image["intermediate_size"],
      image_size=side,
      grid=side // patch,
      **{
        **_own(side, patch),
        "act": act.get(image["hidden_act"], image["hidden_act"]),
        "eps": image["layer_norm_eps"],
      },
    ),
    text=TextConfig(
      width=text["hidden_size"],
      depth=text["num_hidden_layers"],
      num_heads=text["num_attention_heads"],
      mlp_dim=text["intermediate_size"],
      dim=text.get("projection_size") or text["hidden_size"],
      vocabulary_size=text["vocab_size"],
      context_length=text["max_position_embeddings"],
      **{
        **_TEXT,
        "act": act.get(text["hidden_act"], text["hidden_act"]),
        "eps": text["layer_norm_eps"],
        "tokenizer": _tokenizer(text["vocab_size"]),
      },
    ),
    preprocess=_square(side, "bicubic"),
  )


def _read_open_clip(config: Mapping[str, Any]) -> Model | None:
  """Its image tower is timm's, of which it tells the name alone.

  timm runs some of them with exact GELU; all were trained with tanh's.
  """
  text = config["model_cfg"]["text_cfg"]
  match = re.fullmatch(
    r"vit_(base|large|so400m|giantopt)_patch(\d+)_siglip(?:_gap)?_(\d+)",
    config["model_cfg"]["vision_cfg"].get("timm_model_name", ""),
  )
  if match is None:
    return None
  size = match[1].replace("giantopt", "giant-opt")
  patch, side = int(match[2]), int(match[3])
  image = _tower(size, patch, side)
  return Model(
    # timm's own rule for another resolution.
    image=dataclasses.replace(image, position_rule="antialias"),
    text=TextConfig(
      width=text["width"],
      depth=text["layers"],
      num_heads=text["heads"],
      mlp_dim=int(text["width"] * text.get("mlp_ratio", 4)),
      dim=image.dim,
      vocabulary_size=text["vocab_size"],
      context_length=text["context_length"],
      **{**_TEXT, "tokenizer": _tokenizer(text["vocab_size"])},
    ),
    preprocess=family.from_open_clip(config),
  )


_BASE = {
  # What transformers takes where a config.json is silent.
  "hidden_size": 768,
  "intermediate_size": 3072,
  "num_hidden_layers": 12,
  "num_attention_heads": 12,
  "image_size": 224,
  "patch_size": 16,
  "hidden_act": "gelu_pytorch_tanh",
  "layer_norm_eps": 1e-6,
}

_V1 = (
  ("base", 16, (224, 256, 384, 512)),
  ("large", 16, (256, 384)),
  ("so400m", 14, (224, 384)),
)
_V2 = (
  ("base", 32, (256,)),
  ("base", 16, (224, 256, 384, 512)),
  ("large", 16, (256, 384, 512)),
  ("so400m", 14, (224, 384)),
  ("so400m", 16, (256, 384, 512)),
  ("giant-opt", 16, (256, 384)),
)


def _models(version: int, table: tuple) -> dict[str, Model]:
  prefix = "siglip" if version == 1 else "siglip2"
  names = {"base": "b", "large": "l", "so400m": "so400m", "giant-opt": "gopt"}
  return {
    f"{prefix}_vit{names[size]}{patch}_{side}": _siglip(
      size, patch, side, version=version
    )
    for size, patch, sides in table
    for side in sides
  }


SIGLIP = Family(
  title="SigLIP, SigLIP 2",
  source="Google, github.com/google-research/big_vision",
  license="Apache-2.0",
  models={**_models(1, _V1), **_models(2, _V2)},
  image=(_HF_IMAGE, _timm_image(""), _timm_image("visual.trunk.")),
  text=(_HF_TEXT, _OPEN_CLIP_TEXT),
  read_config=_read_config,
)
