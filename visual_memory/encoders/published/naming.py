"""Name maps: where each of our params is found in a published checkpoint.

A naming maps our leaf ("blocks.{i}.attn.qkv.kernel") to the tensors that it is
made of and to how:

  same        the tensor itself
  linear      torch's [out, in] to our [in, out]; several tensors are put side
              by side (q, k, v)
  side        several vectors end to end
  conv        [out, 3, p, p] to [p * p * 3, out]
  first_row   the first row of the table of position embeddings
  grid        its other rows, as a square

Reference: the released code of DINO, DINOv2 and CLIP, and the conversion
scripts of Hugging Face transformers.
"""

import dataclasses
import re
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Source:
  """The tensors that a leaf is made of, and how; see the module."""

  tensors: tuple[str, ...]
  how: str = "same"


Naming = Mapping[str, Source]


def _same(**names: str) -> dict[str, Source]:
  return {
    leaf.replace("__", "."): Source((name,)) for leaf, name in names.items()
  }


def _norm(leaf: str, name: str) -> dict[str, Source]:
  return {
    f"{leaf}.scale": Source((f"{name}.weight",)),
    f"{leaf}.bias": Source((f"{name}.bias",)),
  }


def _linear(leaf: str, *names: str) -> dict[str, Source]:
  """One linear layer, or several side by side."""
  return {
    f"{leaf}.kernel": Source(tuple(f"{n}.weight" for n in names), "linear"),
    f"{leaf}.bias": Source(tuple(f"{n}.bias" for n in names), "side"),
  }


def _patch_embed(name: str, *, bias: bool = True) -> dict[str, Source]:
  kernel = {"patch_embed.kernel": Source((f"{name}.weight",), "conv")}
  return kernel | (_same(patch_embed__bias=f"{name}.bias") if bias else {})


def _positions(name: str) -> dict[str, Source]:
  return {
    "class_position": Source((name,), "first_row"),
    "patch_position": Source((name,), "grid"),
  }


def _hub() -> Naming:
  """facebookresearch/dino and dinov2 (.pth)."""
  block = "blocks.{i}"
  return {
    **_same(class_token="cls_token", registers="register_tokens"),
    **_positions("pos_embed"),
    **_patch_embed("patch_embed.proj"),
    **_norm("norm", "norm"),
    **_norm(f"{block}.norm1", f"{block}.norm1"),
    **_norm(f"{block}.norm2", f"{block}.norm2"),
    **_linear(f"{block}.attn.qkv", f"{block}.attn.qkv"),
    **_linear(f"{block}.attn.proj", f"{block}.attn.proj"),
    f"{block}.scale1": Source((f"{block}.ls1.gamma",)),
    f"{block}.scale2": Source((f"{block}.ls2.gamma",)),
  }


def _hub_mlp() -> Naming:
  block = "blocks.{i}.mlp"
  return {
    **_hub(),
    **_linear(f"{block}.fc1", f"{block}.fc1"),
    **_linear(f"{block}.fc2", f"{block}.fc2"),
  }


def _hub_swiglu() -> Naming:
  block = "blocks.{i}.mlp"
  return {
    **_hub(),
    **_linear(f"{block}.fc1", f"{block}.w12"),
    **_linear(f"{block}.fc2", f"{block}.w3"),
  }


def _hf_embeddings() -> Naming:
  """What Hugging Face's DINOv2 and ViT have in common."""
  heads = "encoder.layer.{i}.attention.attention"
  return {
    **_same(
      class_token="embeddings.cls_token",
      registers="embeddings.register_tokens",
    ),
    **_positions("embeddings.position_embeddings"),
    **_patch_embed("embeddings.patch_embeddings.projection"),
    **_norm("norm", "layernorm"),
    **_linear(
      "blocks.{i}.attn.qkv",
      *(f"{heads}.{part}" for part in ("query", "key", "value")),
    ),
    **_linear(
      "blocks.{i}.attn.proj", "encoder.layer.{i}.attention.output.dense"
    ),
  }


def _hf_dinov2(fc1: str, fc2: str) -> Naming:
  block, layer = "blocks.{i}", "encoder.layer.{i}"
  return {
    **_hf_embeddings(),
    **_norm(f"{block}.norm1", f"{layer}.norm1"),
    **_norm(f"{block}.norm2", f"{layer}.norm2"),
    f"{block}.scale1": Source((f"{layer}.layer_scale1.lambda1",)),
    f"{block}.scale2": Source((f"{layer}.layer_scale2.lambda1",)),
    **_linear(f"{block}.mlp.fc1", f"{layer}.mlp.{fc1}"),
    **_linear(f"{block}.mlp.fc2", f"{layer}.mlp.{fc2}"),
  }


def _hf_vit() -> Naming:
  block, layer = "blocks.{i}", "encoder.layer.{i}"
  return {
    **_hf_embeddings(),
    **_norm(f"{block}.norm1", f"{layer}.layernorm_before"),
    **_norm(f"{block}.norm2", f"{layer}.layernorm_after"),
    **_linear(f"{block}.mlp.fc1", f"{layer}.intermediate.dense"),
    **_linear(f"{block}.mlp.fc2", f"{layer}.output.dense"),
  }


def _openai_blocks(tower: str) -> Naming:
  block, layer = "blocks.{i}", f"{tower}.resblocks.{{i}}"
  return {
    **_norm(f"{block}.norm1", f"{layer}.ln_1"),
    **_norm(f"{block}.norm2", f"{layer}.ln_2"),
    # torch's MultiheadAttention: the fused tensors have no ".weight".
    f"{block}.attn.qkv.kernel": Source(
      (f"{layer}.attn.in_proj_weight",), "linear"
    ),
    f"{block}.attn.qkv.bias": Source((f"{layer}.attn.in_proj_bias",)),
    **_linear(f"{block}.attn.proj", f"{layer}.attn.out_proj"),
    **_linear(f"{block}.mlp.fc1", f"{layer}.mlp.c_fc"),
    **_linear(f"{block}.mlp.fc2", f"{layer}.mlp.c_proj"),
  }


def _hf_clip_blocks(tower: str) -> Naming:
  block, layer = "blocks.{i}", f"{tower}.encoder.layers.{{i}}"
  heads = (f"{layer}.self_attn.{part}_proj" for part in "qkv")
  return {
    **_norm(f"{block}.norm1", f"{layer}.layer_norm1"),
    **_norm(f"{block}.norm2", f"{layer}.layer_norm2"),
    **_linear(f"{block}.attn.qkv", *heads),
    **_linear(f"{block}.attn.proj", f"{layer}.self_attn.out_proj"),
    **_linear(f"{block}.mlp.fc1", f"{layer}.mlp.fc1"),
    **_linear(f"{block}.mlp.fc2", f"{layer}.mlp.fc2"),
  }


OPENAI_IMAGE: Naming = {
  **_same(
    class_token="visual.class_embedding", projection__kernel="visual.proj"
  ),
  **_positions("visual.positional_embedding"),
  **_patch_embed("visual.conv1", bias=False),
  **_norm("norm_pre", "visual.ln_pre"),
  **_norm("norm", "visual.ln_post"),
  **_openai_blocks("visual.transformer"),
}
OPENAI_TEXT: Naming = {
  **_same(
    token_embedding="token_embedding.weight",
    position_embedding="positional_embedding",
    projection__kernel="text_projection",
    logit_scale="logit_scale",
  ),
  **_norm("norm", "ln_final"),
  **_openai_blocks("transformer"),
}
HF_CLIP_IMAGE: Naming = {
  **_same(class_token="vision_model.embeddings.class_embedding"),
  **_positions("vision_model.embeddings.position_embedding.weight"),
  **_patch_embed("vision_model.embeddings.patch_embedding", bias=False),
  **_norm("norm_pre", "vision_model.pre_layrnorm"),  # Spelled so.
  **_norm("norm", "vision_model.post_layernorm"),
  **_hf_clip_blocks("vision_model"),
  "projection.kernel": Source(("visual_projection.weight",), "linear"),
}
HF_CLIP_TEXT: Naming = {
  **_same(
    token_embedding="text_model.embeddings.token_embedding.weight",
    position_embedding="text_model.embeddings.position_embedding.weight",
    logit_scale="logit_scale",
  ),
  **_norm("norm", "text_model.final_layer_norm"),
  **_hf_clip_blocks("text_model"),
  "projection.kernel": Source(("text_projection.weight",), "linear"),
}

DINO = (
  _hub_mlp(),
  _hub_swiglu(),
  _hf_dinov2("fc1", "fc2"),
  _hf_dinov2("weights_in", "weights_out"),
  _hf_vit(),
)
"""The namings that a DINO or DINOv2 checkpoint may follow."""
CLIP_IMAGE = (OPENAI_IMAGE, HF_CLIP_IMAGE)
"""The namings of CLIP's image tower."""
CLIP_TEXT = (OPENAI_TEXT, HF_CLIP_TEXT)
"""The namings of CLIP's text tower."""

PREFIXES = ("module.", "backbone.", "dinov2.", "dinov2_with_registers.", "vit.")
"""Wrappers that a checkpoint may have been saved from."""

_UNUSED = (
  r"(embeddings\.)?mask_token",  # Only pretraining masks patches.
  r"pooler\.dense\.(weight|bias)",  # Hugging Face's, not DINO's.
  r"classifier\.(weight|bias)",  # A linear probe saved with the backbone.
  r"(vision_model|text_model)\.embeddings\.position_ids",  # 0, 1, 2, ...
  r"input_resolution|context_length|vocab_size",  # OpenAI's three scalars.
)


def is_unused(name: str) -> bool:
  """Whether published files have this tensor and no encoder needs it."""
  return any(re.fullmatch(pattern, name) for pattern in _UNUSED)


def belongs(name: str, namings: tuple[Naming, ...]) -> bool:
  """Whether any naming knows this tensor, at any block."""
  pattern = re.sub(r"\.\d+\.", ".{i}.", name, count=1)
  return any(
    pattern in source.tensors or name in source.tensors
    for naming in namings
    for source in naming.values()
  )
