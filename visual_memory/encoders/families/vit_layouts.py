"""Layouts that several families share: plain ViTs of the hub, timm and HF."""

from visual_memory.encoders.published.naming import (
  Naming,
  Source,
  linear,
  norm,
  patch_embed,
  positions,
  same,
)

_BLOCK, _LAYER = "blocks.{i}", "encoder.layer.{i}"


def timm_blocks(
  prefix: str = "", *, fc1: str = "fc1", fc2: str = "fc2"
) -> dict[str, Source]:
  """The blocks of the released code of DINO, MAE and DeiT, and of timm.

  Args:
    prefix: before every name.
    fc1, fc2: what the layers of a block's mlp are called.
  """
  layer = f"{prefix}{_BLOCK}"
  return {
    **norm(f"{_BLOCK}.norm1", f"{layer}.norm1"),
    **norm(f"{_BLOCK}.norm2", f"{layer}.norm2"),
    **linear(f"{_BLOCK}.attn.qkv", f"{layer}.attn.qkv"),
    **linear(f"{_BLOCK}.attn.proj", f"{layer}.attn.proj"),
    f"{_BLOCK}.scale1": Source((f"{layer}.ls1.gamma",)),
    f"{_BLOCK}.scale2": Source((f"{layer}.ls2.gamma",)),
    **linear(f"{_BLOCK}.mlp.fc1", f"{layer}.mlp.{fc1}"),
    **linear(f"{_BLOCK}.mlp.fc2", f"{layer}.mlp.{fc2}"),
  }


def hub(
  origin: str, *, fc1: str = "fc1", fc2: str = "fc2", skip: int = 1
) -> Naming:
  """The released code of DINO, DINOv2, MAE and DeiT, and timm.

  Args:
    origin: "hub" or "timm".
    fc1, fc2: what the layers of a block's mlp are called.
    skip: rows of the table of positions before those of the patches.
  """
  return Naming(
    origin,
    {
      **same(class_token="cls_token", registers="register_tokens"),
      **positions("pos_embed", skip=skip),
      **patch_embed("patch_embed.proj"),
      **norm("norm", "norm"),
      **timm_blocks(fc1=fc1, fc2=fc2),
    },
  )


def _hf_embeddings() -> dict[str, Source]:
  """What Hugging Face's DINOv2 and ViT have in common."""
  heads = f"{_LAYER}.attention.attention"
  return {
    **same(
      class_token="embeddings.cls_token",
      registers="embeddings.register_tokens",
    ),
    **positions("embeddings.position_embeddings"),
    **patch_embed("embeddings.patch_embeddings.projection"),
    **norm("norm", "layernorm"),
    **linear(
      f"{_BLOCK}.attn.qkv",
      *(f"{heads}.{part}" for part in ("query", "key", "value")),
    ),
    **linear(f"{_BLOCK}.attn.proj", f"{_LAYER}.attention.output.dense"),
  }


def hf_dinov2(fc1: str, fc2: str) -> Naming:
  """Hugging Face's Dinov2Model, with registers or without."""
  return Naming(
    "hf",
    {
      **_hf_embeddings(),
      **norm(f"{_BLOCK}.norm1", f"{_LAYER}.norm1"),
      **norm(f"{_BLOCK}.norm2", f"{_LAYER}.norm2"),
      f"{_BLOCK}.scale1": Source((f"{_LAYER}.layer_scale1.lambda1",)),
      f"{_BLOCK}.scale2": Source((f"{_LAYER}.layer_scale2.lambda1",)),
      **linear(f"{_BLOCK}.mlp.fc1", f"{_LAYER}.mlp.{fc1}"),
      **linear(f"{_BLOCK}.mlp.fc2", f"{_LAYER}.mlp.{fc2}"),
    },
  )


def hf_vit() -> Naming:
  """Hugging Face's ViTModel, ViTMAEModel and DeiTModel."""
  return Naming(
    "hf",
    {
      **_hf_embeddings(),
      **norm(f"{_BLOCK}.norm1", f"{_LAYER}.layernorm_before"),
      **norm(f"{_BLOCK}.norm2", f"{_LAYER}.layernorm_after"),
      **linear(f"{_BLOCK}.mlp.fc1", f"{_LAYER}.intermediate.dense"),
      **linear(f"{_BLOCK}.mlp.fc2", f"{_LAYER}.output.dense"),
    },
  )
