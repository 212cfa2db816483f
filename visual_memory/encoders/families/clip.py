"""OpenAI's CLIP: image and text towers.

Reference: Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision" (ICML 2021); sizes as in the released code and weights.
"""

import dataclasses

from visual_memory.data.preprocess import PRESETS
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.published.download import Published
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
from visual_memory.encoders.settings import TextConfig, vit

_BLOCK = "blocks.{i}"


def _openai_blocks(tower: str) -> dict[str, Source]:
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
    **_openai_blocks("visual.transformer"),
  },
)
_OPENAI_TEXT = Naming(
  "openai",
  {
    **same(
      token_embedding="token_embedding.weight",
      position_embedding="positional_embedding",
      projection__kernel="text_projection",
      logit_scale="logit_scale",
    ),
    **norm("norm", "ln_final"),
    **_openai_blocks("transformer"),
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
TEXT = (_OPENAI_TEXT, _HF_TEXT)
"""The namings of CLIP's text tower."""


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
  preset = PRESETS["clip"]
  return Model(
    image=vit(
      f"vit_{width}",
      image_size=image_size,
      patch_size=patch_size,
      act=act,
      eps=1e-5,
      ln_pre=True,
      patch_bias=False,
      projection=text.dim,
      position_rule="plain",
    ),
    text=dataclasses.replace(text, act=act),
    preprocess=dataclasses.replace(preset, resize=image_size, crop=image_size),
    **fields,
  )


_TEXTS = {
  "b": TextConfig(width=512, depth=12, num_heads=8, dim=512),
  "l": TextConfig(width=768, depth=12, num_heads=12, dim=768),
}


def _openai(file: str, sha256: str) -> Published:
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
      address=_openai(
        "ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
      ),
      hub="openai/clip-vit-base-patch32",
    ),
    "clip_vitb16": clip(
      "b",
      patch_size=16,
      address=_openai(
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
      ),
      hub="openai/clip-vit-base-patch16",
    ),
    "clip_vitl14": clip(
      "l",
      patch_size=14,
      address=_openai(
        "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
      ),
      hub="openai/clip-vit-large-patch14",
    ),
    "clip_vitl14_336": clip(
      "l",
      patch_size=14,
      image_size=336,
      address=_openai(
        "ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
      ),
      hub="openai/clip-vit-large-patch14-336",
    ),
  },
  image=IMAGE,
  text=TEXT,
)
