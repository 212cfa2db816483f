"""OpenAI's CLIP: image and text towers.

Reference: Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision" (ICML 2021); sizes as in the released code and weights.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from visual_memory.data.preprocess import PRESETS, Preprocess
from visual_memory.encoders.families import family
from visual_memory.encoders.families.family import Family, Model
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
from visual_memory.encoders.published.places import Published
from visual_memory.encoders.settings import TextConfig, ViTConfig, vit

_BLOCK = "blocks.{i}"


def text_blocks(tower: str) -> dict[str, Source]:
  """The blocks of a tower of OpenAI's code or of open_clip."""
  layer = f"{tower}.resblocks.{{i}}"
  return {
    **norm(f"{_BLOCK}.norm1", f"{layer}.ln_1"),
    **norm(f"{_BLOCK}.norm2", f"{layer}.ln_2"),
    **fused_linear(f"{_BLOCK}.attn.qkv", f"{layer}.attn.in_proj"),
    **linear(f"{_BLOCK}.attn.proj", f"{layer}.attn.out_proj"),
    **linear(f"{_BLOCK}.mlp.fc1", f"{layer}.mlp.c_fc"),
    **linear(f"{_BLOCK}.mlp.fc2", f"{layer}.mlp.c_proj"),
  }


def hf_blocks(tower: str) -> dict[str, Source]:
  """The blocks of a tower of Hugging Face's CLIP or SigLIP."""
  layer = f"{tower}.encoder.layers.{{i}}"
  heads = (f"{layer}.self_attn.{part}_proj" for part in "qkv")
  return {
    **norm(f"{_BLOCK}.norm1", f"{layer}.layer_norm1"),
    **norm(f"{_BLOCK}.norm2", f"{layer}.layer_norm2"),
    **linear(f"{_BLOCK}.attn.qkv", *heads),
    **linear(f"{_BLOCK}.attn.proj", f"{layer}.self_attn.out_proj"),
    **linear(f"{_BLOCK}.mlp.fc1", f"{layer}.mlp.fc1"),
    **linear(f"{_BLOCK}.mlp.fc2", f"{layer}.mlp.fc2"),
  }


_OPENAI_IMAGE = Naming(
  "openai",
  {
    **same(
      class_token="visual.class_embedding", projection__kernel="visual.proj"
    ),
    **positions("visual.positional_embedding"),
    **patch_embed("visual.conv1", bias=False),
    **norm("norm_pre", "visual.ln_pre"),
    **norm("norm", "visual.ln_post"),
    **text_blocks("visual.transformer"),
  },
)
OPENAI_TEXT = Naming(
  "openai",
  {
    **same(
      token_embedding="token_embedding.weight",
      position_embedding="positional_embedding",
      projection__kernel="text_projection",
      logit_scale="logit_scale",
    ),
    **norm("norm", "ln_final"),
    **text_blocks("transformer"),
  },
)
_HF_IMAGE = Naming(
  "hf",
  {
    **same(class_token="vision_model.embeddings.class_embedding"),
    **positions("vision_model.embeddings.position_embedding.weight"),
    **patch_embed("vision_model.embeddings.patch_embedding", bias=False),
    **norm("norm_pre", "vision_model.pre_layrnorm"),  # Spelled so.
    **norm("norm", "vision_model.post_layernorm"),
    **hf_blocks("vision_model"),
    "projection.kernel": Source(("visual_projection.weight",), "linear"),
  },
)
_HF_TEXT = Naming(
  "hf",
  {
    **same(
      token_embedding="text_model.embeddings.token_embedding.weight",
      position_embedding="text_model.embeddings.position_embedding.weight",
      logit_scale="logit_scale",
    ),
    **norm("norm", "text_model.final_layer_norm"),
    **hf_blocks("text_model"),
    "projection.kernel": Source(("text_projection.weight",), "linear"),
  },
)
IMAGE = (_OPENAI_IMAGE, _HF_IMAGE)
"""The namings of CLIP's image tower."""
TEXT = (OPENAI_TEXT, _HF_TEXT)
"""The namings of CLIP's text tower."""


_OWN = {
  "eps": 1e-5,
  "ln_pre": True,
  "patch_bias": False,
  "position_rule": "plain",
}
"""What tells CLIP's image tower from a plain ViT."""


def _preprocess(side: int) -> Preprocess:
  return dataclasses.replace(PRESETS["clip"], resize=side, crop=side)


def clip(
  width: str,
  *,
  patch_size: int,
  image_size: int = 224,
  act: str = "quick_gelu",
  **fields,
) -> Model:
  """A CLIP of published size.

  Args:
    width: of the image tower: "b", "l", ...
    patch_size: in pixels.
    image_size: in pixels.
    act: of both towers.
    **fields: of the Model.
  """
  text = _TEXTS[width]
  return Model(
    image=vit(
      f"vit_{width}",
      image_size=image_size,
      patch_size=patch_size,
      **({"mlp_dim": _MLP_DIMS[width]} if width in _MLP_DIMS else {}),
      act=act,
      projection=text.dim,
      **_OWN,
    ),
    text=dataclasses.replace(text, act=act),
    preprocess=_preprocess(image_size),
    **fields,
  )


_TEXTS = {
  "b": TextConfig(width=512, depth=12, num_heads=8, dim=512),
  "l": TextConfig(width=768, depth=12, num_heads=12, dim=768),
  "h": TextConfig(width=1024, depth=24, num_heads=16, dim=1024),
  "clip_g": TextConfig(width=1024, depth=24, num_heads=16, dim=1024),
  "bigg": TextConfig(width=1280, depth=32, num_heads=20, dim=1280),
}
_MLP_DIMS = {"clip_g": 6144, "bigg": 8192}
"""Of image towers whose hidden layer is not four times as wide."""


def read_config(config: Mapping[str, Any]) -> Model | None:
  """The model of transformers' config.json or of an open_clip_config.json.

  An activation that transformers' file does not name is OpenAI's; one that
  open_clip's does not name is exact GELU.
  """
  if "model_cfg" in config:
    return _read_open_clip(config)
  if config.get("model_type") not in ("clip", "clip_vision_model"):
    return None
  alone = config if config["model_type"] == "clip_vision_model" else {}
  image = {
    **_DEFAULTS,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    **(config.get("vision_config") or alone),
  }
  text = {
    **_DEFAULTS,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    **(config.get("text_config") or {}),
  }
  side, dim = image["image_size"], config.get("projection_dim", 512)
  return Model(
    image=ViTConfig(
      patch_size=image["patch_size"],
      dim=image["hidden_size"],
      depth=image["num_hidden_layers"],
      num_heads=image["num_attention_heads"],
      mlp_dim=image["intermediate_size"],
      image_size=side,
      grid=side // image["patch_size"],
      act=image["hidden_act"],
      projection=dim,
      **{**_OWN, "eps": image["layer_norm_eps"]},
    ),
    text=TextConfig(
      width=text["hidden_size"],
      depth=text["num_hidden_layers"],
      num_heads=text["num_attention_heads"],
      mlp_dim=_unless_usual(text["intermediate_size"], text["hidden_size"]),
      dim=dim,
      vocabulary_size=text["vocab_size"],
      context_length=text["max_position_embeddings"],
      act=text["hidden_act"],
      eps=text["layer_norm_eps"],
    ),
    preprocess=_preprocess(side),
  )


def _read_open_clip(config: Mapping[str, Any]) -> Model | None:
  settings = config["model_cfg"]
  image = settings["vision_cfg"]
  if "timm_model_name" in image or not isinstance(image["layers"], int):
    return None  # A tower of timm's, or a ResNet.
  act = "quick_gelu" if settings.get("quick_gelu") else "gelu"
  dim, side = image["width"], image.get("image_size", 224)
  return Model(
    image=ViTConfig(
      patch_size=image["patch_size"],
      dim=dim,
      depth=image["layers"],
      num_heads=dim // image.get("head_width", 64),
      mlp_dim=int(dim * image.get("mlp_ratio", 4)),
      image_size=side,
      grid=side // image["patch_size"],
      act=act,
      projection=settings["embed_dim"],
      # What open_clip resamples a table by when it loads one.
      **{**_OWN, "position_rule": "antialias"},
    ),
    text=open_clip_text(settings),
    preprocess=family.from_open_clip(config),
  )


def open_clip_text(settings: Mapping[str, Any]) -> TextConfig:
  """The text tower that open_clip's model_cfg describes."""
  text = settings["text_cfg"]
  return TextConfig(
    width=text["width"],
    depth=text["layers"],
    num_heads=text["heads"],
    mlp_dim=_unless_usual(
      int(text["width"] * text.get("mlp_ratio", 4)), text["width"]
    ),
    dim=settings["embed_dim"],
    vocabulary_size=text.get("vocab_size", 49408),
    context_length=text.get("context_length", 77),
    act="quick_gelu" if settings.get("quick_gelu") else "gelu",
  )


def _unless_usual(mlp_dim: int, width: int) -> int:
  """0 for what a TextConfig takes of itself: equal settings are equal."""
  return 0 if mlp_dim == 4 * width else mlp_dim


_DEFAULTS = {
  # What transformers takes where a config.json is silent.
  "num_hidden_layers": 12,
  "image_size": 224,
  "patch_size": 32,
  "hidden_act": "quick_gelu",
  "layer_norm_eps": 1e-5,
}


def openai_file(file: str, sha256: str) -> Published:
  """A file of OpenAI's, whose address has its sha256."""
  root = "https://openaipublic.azureedge.net/clip/models"
  return Published(url=f"{root}/{sha256}/{file}", sha256=sha256)


OPENAI_CLIP = Family(
  title="CLIP",
  source="OpenAI, github.com/openai/CLIP (LICENSE)",
  license="MIT",
  models={
    "clip_vitb32": clip(
      "b",
      patch_size=32,
      address=openai_file(
        "ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
      ),
      hub="openai/clip-vit-base-patch32",
    ),
    "clip_vitb16": clip(
      "b",
      patch_size=16,
      address=openai_file(
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
      ),
      hub="openai/clip-vit-base-patch16",
    ),
    "clip_vitl14": clip(
      "l",
      patch_size=14,
      address=openai_file(
        "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
      ),
      hub="openai/clip-vit-large-patch14",
    ),
    "clip_vitl14_336": clip(
      "l",
      patch_size=14,
      image_size=336,
      address=openai_file(
        "ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
      ),
      hub="openai/clip-vit-large-patch14-336",
    ),
  },
  image=IMAGE,
  text=TEXT,
  read_config=read_config,
)
