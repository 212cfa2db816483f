"""Plain ViTs: MAE, DeiT, DeiT III, and those of AugReg and of timm.

References: Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021); He
et al., "Masked Autoencoders Are Scalable Vision Learners" (CVPR 2022), whose
features need fine-tuning before their neighbors mean much; Touvron et al.,
"DeiT" (ICML 2021) and "DeiT III" (ECCV 2022); Steiner et al., "How to train
your ViT?" (TMLR 2022).
"""

import re
from collections.abc import Mapping
from typing import Any

from visual_memory.data.preprocess import PRESETS, Preprocess
from visual_memory.encoders.families import family
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.published.naming import (
  Naming,
  Source,
  linear,
  norm,
  patch_embed,
  positions,
  same,
)
from visual_memory.encoders.published.places import Published
from visual_memory.encoders.settings import ViTConfig, vit

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


_ROOT = "https://dl.fbaipublicfiles.com"
_UNUSED = (
  r"head(_dist)?\.(weight|bias)",  # Classifiers.
  r"(cls_|distillation_)?classifier\.(weight|bias)",
  r"fc_norm\.(weight|bias)",  # Of a mean that a classifier sees.
  r"pre_logits\.fc\.(weight|bias)",
  r"decoder.*",  # MAE's, which paints.
)
_WIDTHS = {"tiny": "ti", "small": "s", "base": "b", "large": "l", "huge": "h"}

_DEIT3_LAYOUT = Naming(
  "hub",
  {
    **hub("hub", skip=0).sources,
    "class_position": Source((), "zeros"),
    "blocks.{i}.scale1": Source(("blocks.{i}.gamma_1",)),
    "blocks.{i}.scale2": Source(("blocks.{i}.gamma_2",)),
  },
)
"""DeiT III: the class token has no position, LayerScale another name."""

_TIMM_DEIT3_LAYOUT = Naming(
  "timm",
  {
    **hub("timm", skip=0).sources,
    "class_position": Source((), "zeros"),
  },
)


def _tower(width: str, patch: int, side: int = 224, **changes) -> ViTConfig:
  return vit(f"vit_{width}", image_size=side, patch_size=patch, **changes)


def _mae(name: str, patch: int) -> Model:
  return Model(
    image=_tower(_WIDTHS[name], patch, position_rule="plain"),
    preprocess=PRESETS["dino"],
    address=Published(url=f"{_ROOT}/mae/pretrain/mae_pretrain_vit_{name}.pth"),
    hub=f"facebook/vit-mae-{name}",
    license="CC-BY-NC-4.0",
  )


def _deit(name: str, sha256: str) -> Model:
  file = f"deit_{name}_patch16_224-{sha256}.pth"
  return Model(
    image=_tower(_WIDTHS[name], 16, position_rule="plain"),
    preprocess=PRESETS["dino"],
    address=Published(url=f"{_ROOT}/deit/{file}", sha256=sha256),
    hub=f"facebook/deit-{name}-patch16-224",
  )


def _deit3(name: str) -> Model:
  return Model(
    image=_tower(_WIDTHS[name], 16, position_rule="plain", layer_scale=True),
    preprocess=Preprocess(resize=224, crop=224),
    address=Published(url=f"{_ROOT}/deit/deit_3_{name}_224_21k.pth"),
    hub=f"timm/deit3_{name}_patch16_224.fb_in22k_ft_in1k",
  )


def _augreg(name: str, patch: int) -> Model:
  return Model(
    image=_tower(_WIDTHS[name], patch, position_rule="antialias"),
    preprocess=Preprocess(
      resize=248, crop=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    ),
    hub=f"timm/vit_{name}_patch{patch}_224.augreg_in21k",
  )


def read_config(config: Mapping[str, Any]) -> Model | None:
  """The model of a config.json, of transformers or of timm."""
  if config.get("model_type") in ("vit", "vit_mae", "deit"):
    given = {**_DEFAULTS, **config}
    side, patch = given["image_size"], given["patch_size"]
    return Model(
      image=ViTConfig(
        patch_size=patch,
        dim=given["hidden_size"],
        depth=given["num_hidden_layers"],
        num_heads=given["num_attention_heads"],
        mlp_dim=given["intermediate_size"],
        image_size=side,
        grid=side // patch,
        act=given["hidden_act"],
        eps=given["layer_norm_eps"],
        qkv_bias=given["qkv_bias"],
        position_rule="plain",
      ),
      preprocess=PRESETS["dino"],
    )
  if "architecture" in config:
    return _read_timm(config)
  return None


def _read_timm(config: Mapping[str, Any]) -> Model | None:
  """The model that a timm repository names, if it is a plain ViT."""
  match = re.fullmatch(
    r"(?:vit|deit3?)_(tiny|small|base|large|huge)_patch(\d+)(?:_(\d+))?"
    r"(?:_(dinov2))?(?:\..*)?",
    config["architecture"],
  )
  if match is None:
    return None
  name, patch, _, dino = match.groups()
  own = config.get("pretrained_cfg", {})
  preprocess = family.from_timm(own)
  side = preprocess.crop
  changes = {"position_rule": "antialias"}
  if dino or config["architecture"].startswith("deit3"):
    changes["layer_scale"] = True
  return Model(
    image=_tower(_WIDTHS[name], int(patch), side, **changes),
    preprocess=preprocess,
  )


_DEFAULTS = {
  # What transformers takes where a config.json is silent.
  "hidden_size": 768,
  "num_hidden_layers": 12,
  "num_attention_heads": 12,
  "intermediate_size": 3072,
  "patch_size": 16,
  "image_size": 224,
  "hidden_act": "gelu",
  "layer_norm_eps": 1e-12,
  "qkv_bias": True,
}


PLAIN_VIT = Family(
  title="MAE, DeiT, DeiT III, AugReg",
  source=(
    "Meta AI, github.com/facebookresearch/{mae,deit}; Google,"
    " github.com/google-research/vision_transformer, as timm keeps them"
  ),
  license="Apache-2.0",
  models={
    "mae_vitb16": _mae("base", 16),
    "mae_vitl16": _mae("large", 16),
    "mae_vith14": _mae("huge", 14),
    "deit_vitti16": _deit("tiny", "a1311bcf"),
    "deit_vits16": _deit("small", "cd65a155"),
    "deit_vitb16": _deit("base", "b5f2ef4d"),
    "deit3_vits16": _deit3("small"),
    "deit3_vitb16": _deit3("base"),
    "deit3_vitl16": _deit3("large"),
    "augreg_vitti16": _augreg("tiny", 16),
    "augreg_vits16": _augreg("small", 16),
    "augreg_vits32": _augreg("small", 32),
    "augreg_vitb16": _augreg("base", 16),
    "augreg_vitb32": _augreg("base", 32),
    "augreg_vitl16": _augreg("large", 16),
  },
  image=(
    hub("hub"),
    hf_vit(),
    _DEIT3_LAYOUT,
    _TIMM_DEIT3_LAYOUT,
  ),
  unused=_UNUSED,
  read_config=read_config,
)
