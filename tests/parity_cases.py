"""Small models of transformers with every tensor drawn anew, as files.

`write(case, folder)` writes a repository as its publishers lay it out and gives
what transformers computes from it. Layouts that transformers does not write are
renamed here, by hand, not by the library's own name maps.
"""

import json

import numpy as np
import torch
import torch_files
import torch_resnet
import transformers
from safetensors.numpy import load_file, save_file

_TOWER = {
  "hidden_size": 48,
  "num_hidden_layers": 2,
  "num_attention_heads": 3,
  "patch_size": 4,
  "image_size": 28,
}
_TEXT = {
  "hidden_size": 32,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "intermediate_size": 64,
  "vocab_size": 90,
  "max_position_embeddings": 12,
}
_MLP = {"intermediate_size": 96}
SIZES = ((28, 28), (20, 36))
"""Of the images: native, and not."""


def _clip(act):
  towers = {
    "vision_config": {**_TOWER, **_MLP, "hidden_act": act},
    "text_config": {**_TEXT, "hidden_act": act, "eos_token_id": 89},
  }
  config = transformers.CLIPConfig(**towers, projection_dim=24)
  return transformers.CLIPModel(config)


def _siglip(**changes):
  text = {**_TEXT, "projection_size": _TOWER["hidden_size"]}
  config = transformers.SiglipConfig(
    vision_config={**_TOWER, **_MLP, **changes}, text_config=text
  )
  return transformers.SiglipModel(config)


def _dinov3(**changes):
  fields = {**_TOWER, **_MLP, "num_register_tokens": 4, "key_bias": False}
  return transformers.DINOv3ViTModel(
    transformers.DINOv3ViTConfig(**(fields | changes))
  )


def _vit(**changes):
  return transformers.ViTModel(
    transformers.ViTConfig(**_TOWER, **_MLP, **changes),
    add_pooling_layer=False,
  )


def _dinov2(**changes):
  return transformers.Dinov2Model(
    transformers.Dinov2Config(**_TOWER, **changes)
  )


def _dinov2_reg():
  return transformers.Dinov2WithRegistersModel(
    transformers.Dinov2WithRegistersConfig(**_TOWER, num_register_tokens=4)
  )


RESNETS = "CLIP, ResNet"
RESNET = {"layers": (1, 2, 1, 1), "width": 8, "image_size": 64}


class _ResNetClip(torch.nn.Module):
  """That image tower, and transformers' text tower."""

  def __init__(self):
    super().__init__()
    self.words = _clip("quick_gelu")
    self.visual = torch_resnet.ResNet(**RESNET, out=24)

  def tensors(self):
    """By their published names."""
    words = {n: v.numpy() for n, v in self.words.state_dict().items()}
    words = _openai_from_clip(words)
    image = {f"visual.{n}": v for n, v in self.visual.state_dict().items()}
    return {
      **{n: v for n, v in words.items() if not n.startswith("visual.")},
      **{n: v.float().numpy() if v.ndim else v.numpy()
         for n, v in image.items()},
    }  # fmt: skip


MODELS = {
  "DINOv2": _dinov2,
  "DINOv2, SwiGLU": lambda: _dinov2(use_swiglu_ffn=True),
  "DINOv2, registers": _dinov2_reg,
  "ViT, DINO, AugReg": lambda: _vit(layer_norm_eps=1e-6),
  "CLIP, quick_gelu": lambda: _clip("quick_gelu"),
  "CLIP, gelu": lambda: _clip("gelu"),
  "SigLIP": _siglip,
  # 27 pixels are six patches of four, and three pixels left.
  "SigLIP, a rest of pixels": lambda: _siglip(image_size=27),
  "DINOv3": _dinov3,
  "DINOv3, gated": lambda: _dinov3(use_gated_mlp=True, hidden_act="silu"),
  "DINOv3, no bias": lambda: _dinov3(
    use_gated_mlp=True, hidden_act="silu", query_bias=False, value_bias=False
  ),
}
CASES = (
  *((family, "Hugging Face") for family in MODELS),
  (RESNETS, "OpenAI .pt"),
  (RESNETS, "open_clip"),
  ("ViT, DINO, AugReg", "timm"),
  ("ViT, DINO, AugReg", "wrapped .pth (MAE, DeiT)"),
  ("CLIP, quick_gelu", "open_clip"),
  ("CLIP, gelu", "open_clip"),
  ("SigLIP", "open_clip"),
  ("DINOv3", "hub .pth"),
  ("DINOv3, gated", "hub .pth"),
)


def write(case, folder):
  """Writes a case's repository; returns transformers' model of it."""
  family, layout = case
  if family == RESNETS:
    return _write_resnet(folder, layout)
  model = MODELS[family]().eval()
  torch_files.randomize(model)
  model.save_pretrained(folder)
  if layout == "Hugging Face":
    return model
  path = folder / "model.safetensors"
  tensors = load_file(path)
  path.unlink()
  config = json.loads((folder / "config.json").read_text())
  (folder / "config.json").unlink()
  renamed = _RENAMED[family.split(",")[0], layout](tensors)
  _WRITE[layout](folder, renamed, config)
  return model


def _write_resnet(folder, layout):
  model = _ResNetClip().eval()
  torch_files.randomize(model)
  tensors = model.tensors()
  model.visual.double()
  if layout == "OpenAI .pt":
    scalars = ("input_resolution", "context_length", "vocab_size")
    tensors |= {name: np.array(7) for name in scalars}
    torch_files.write_torchscript(folder / "model.pth", tensors)
    return model
  save_file(tensors, folder / "open_clip_model.safetensors")
  # timm keeps its own image tower beside it.
  save_file({"stem.weight": np.ones(3)}, folder / "model.safetensors")
  (folder / "config.json").write_text('{"architecture": "resnet50_clip"}')
  text = {"width": 32, "heads": 2, "layers": 2, "vocab_size": 90,
          "context_length": 12, "mlp_ratio": 2}  # fmt: skip
  settings = {"embed_dim": 24, "quick_gelu": True, "text_cfg": text,
              "vision_cfg": {**RESNET, "patch_size": None}}  # fmt: skip
  (folder / "open_clip_config.json").write_text(
    json.dumps({"model_cfg": settings, "preprocess_cfg": {}})
  )
  return model


def _write_open_clip(folder, tensors, config):
  save_file(tensors, folder / "open_clip_model.safetensors")
  image, text = config["vision_config"], config["text_config"]
  siglip = config["model_type"] == "siglip"
  settings = {
    "embed_dim": config.get("projection_dim", image["hidden_size"]),
    "vision_cfg": {
      "image_size": image["image_size"],
      "patch_size": image["patch_size"],
      "width": image["hidden_size"],
      "layers": image["num_hidden_layers"],
      "head_width": image["hidden_size"] // image["num_attention_heads"],
      "mlp_ratio": image["intermediate_size"] / image["hidden_size"],
    },
    "text_cfg": {
      "width": text["hidden_size"],
      "layers": text["num_hidden_layers"],
      "heads": text["num_attention_heads"],
      "vocab_size": text["vocab_size"],
      "context_length": text["max_position_embeddings"],
      "mlp_ratio": text["intermediate_size"] / text["hidden_size"],
    },
  }
  if image.get("hidden_act") == "quick_gelu" and not siglip:
    settings["quick_gelu"] = True
  if siglip:
    settings["vision_cfg"] = {"timm_model_name": "unknown"}
  (folder / "open_clip_config.json").write_text(
    json.dumps({"model_cfg": settings, "preprocess_cfg": {}})
  )


def _write_timm(folder, tensors, config):
  save_file(tensors, folder / "model.safetensors")


def _write_wrapped(folder, tensors, config):
  tensors = {
    **tensors,
    "head.weight": np.zeros((10, 48), np.float32),
    "decoder_embed.weight": np.zeros((8, 48), np.float32),
  }
  named = {f"module.{name}": value for name, value in tensors.items()}
  torch.save(
    {
      "model": {n: torch.from_numpy(np.array(v)) for n, v in named.items()},
      "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
      "epoch": torch.tensor(3),
    },
    folder / "model.pth",
  )


def _write_pth(folder, tensors, config):
  torch_files.write_pth(folder / "model.pth", tensors)


_WRITE = {
  "open_clip": _write_open_clip,
  "timm": _write_timm,
  "wrapped .pth (MAE, DeiT)": _write_wrapped,
  "hub .pth": _write_pth,
}


def _apply(tensors, changes):
  renamed = {}
  for name, value in tensors.items():
    for old, new in changes:
      name = name.replace(old, new)
    renamed[name] = value
  return renamed


def _fused(tensors, parts, fused, *, zeros=False):
  """Three tensors each as one; a missing bias of the keys is zeros."""
  renamed, q, k, v = dict(tensors), *parts
  for name in list(tensors):
    if q not in name:
      continue
    pieces = [renamed.pop(name)]
    for part in (k, v):
      other = name.replace(q, part)
      pieces.append(
        renamed.pop(other) if other in renamed else np.ones_like(pieces[0])
      )
    renamed[name.replace(q, fused)] = np.concatenate(pieces)
  return renamed


def _timm_from_vit(tensors):
  tensors = _fused(
    tensors,
    [f"attention.attention.{part}" for part in ("query", "key", "value")],
    "attn.qkv",
  )
  return _apply(tensors, [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("encoder.layer.", "blocks."),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("attention.output.dense", "attn.proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    ("layernorm.", "norm."),
  ])  # fmt: skip


_BLOCKS = [
  ("self_attn.out_proj", "attn.out_proj"),
  ("layer_norm1", "ln_1"),
  ("layer_norm2", "ln_2"),
  ("mlp.fc1", "mlp.c_fc"),
  ("mlp.fc2", "mlp.c_proj"),
]


def _fused_openai(tensors):
  for kind in ("weight", "bias"):
    parts = [f"self_attn.{part}_proj.{kind}" for part in "qkv"]
    tensors = _fused(tensors, parts, f"attn.in_proj_{kind}")
  return tensors


def _openai_from_clip(tensors):
  renamed = _apply(_fused_openai(tensors), [
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.patch_embedding", "visual.conv1"),
    ("vision_model.embeddings.position_embedding.weight",
     "visual.positional_embedding"),
    ("vision_model.pre_layrnorm", "visual.ln_pre"),
    ("vision_model.post_layernorm", "visual.ln_post"),
    ("vision_model.encoder.layers", "visual.transformer.resblocks"),
    ("text_model.encoder.layers", "transformer.resblocks"),
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.embeddings.position_embedding.weight",
     "positional_embedding"),
    ("text_model.final_layer_norm", "ln_final"),
    ("visual_projection.weight", "visual.proj"),
    ("text_projection.weight", "text_projection"),
    *_BLOCKS,
  ])  # fmt: skip
  for name in ("visual.proj", "text_projection"):
    renamed[name] = np.ascontiguousarray(renamed[name].T)
  return renamed


def _open_clip_from_siglip(tensors):
  image = {
    name.removeprefix("vision_model."): value
    for name, value in tensors.items()
    if name.startswith("vision_model.")
  }
  text = {n: v for n, v in tensors.items() if n.startswith("text_model.")}
  for kind in ("weight", "bias"):
    parts = [f"self_attn.{part}_proj.{kind}" for part in "qkv"]
    image = _fused(image, parts, f"attn.qkv.{kind}")
    fused = image.pop(f"head.attention.in_proj_{kind}")
    image[f"attn_pool.q.{kind}"] = fused[:48]
    image[f"attn_pool.kv.{kind}"] = fused[48:]
  image = _apply(image, [
    ("embeddings.patch_embedding", "patch_embed.proj"),
    ("embeddings.position_embedding.weight", "pos_embed"),
    ("encoder.layers", "blocks"),
    ("self_attn.out_proj", "attn.proj"),
    ("layer_norm", "norm"),
    ("post_layernorm", "norm"),
    ("head.probe", "attn_pool.latent"),
    ("head.attention.out_proj", "attn_pool.proj"),
    ("head.layernorm", "attn_pool.norm"),
    ("head.mlp", "attn_pool.mlp"),
  ])  # fmt: skip
  image["pos_embed"] = image["pos_embed"][None]
  text = _apply(_fused_openai(text), [
    ("text_model.encoder.layers", "text.transformer.resblocks"),
    ("text_model.embeddings.token_embedding", "text.token_embedding"),
    ("text_model.embeddings.position_embedding.weight",
     "text.positional_embedding"),
    ("text_model.final_layer_norm", "text.ln_final"),
    ("text_model.head", "text.text_projection"),
    *_BLOCKS,
  ])  # fmt: skip
  scalars = {n: tensors[n].reshape(()) for n in ("logit_scale", "logit_bias")}
  trunk = {f"visual.trunk.{name}": value for name, value in image.items()}
  return {**trunk, **text, **scalars}


def _hub_from_dinov3(tensors):
  tensors = {n.removeprefix("model."): v for n, v in tensors.items()}
  for kind in ("weight", "bias"):
    parts = [f"attention.{part}_proj.{kind}" for part in "qkv"]
    # The keys' bias in the file is not zero: a mask makes it so.
    tensors = _fused(tensors, parts, f"attn.qkv.{kind}")
  gated = any("gate_proj" in name for name in tensors)
  renamed = _apply(tensors, [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.register_tokens", "storage_tokens"),
    ("embeddings.patch_embeddings", "patch_embed.proj"),
    ("layer.", "blocks."),
    ("attention.o_proj", "attn.proj"),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("gate_proj", "w1"),
    ("up_proj", "w2" if gated else "fc1"),
    ("down_proj", "w3" if gated else "fc2"),
  ])  # fmt: skip
  mask = np.repeat([1, 0, 1], 48).astype(np.float32)
  for name in list(renamed):
    if name.endswith("qkv.bias"):
      renamed[f"{name}_mask"] = mask
  renamed["rope_embed.periods"] = np.ones(4, np.float32)
  return renamed


_RENAMED = {
  ("ViT", "timm"): _timm_from_vit,
  ("ViT", "wrapped .pth (MAE, DeiT)"): _timm_from_vit,
  ("CLIP", "open_clip"): _openai_from_clip,
  ("SigLIP", "open_clip"): _open_clip_from_siglip,
  ("DINOv3", "hub .pth"): _hub_from_dinov3,
}


def outputs(family, model, pixels, tokens):
  """What transformers computes: arrays by what they are."""
  images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
  ids = torch.from_numpy(tokens.astype(np.int64))
  kind = family.split(",")[0]
  with torch.no_grad():
    if family == RESNETS:
      grid, pooled = model.visual(images.double())
      words = model.words.text_model(input_ids=ids).pooler_output
      found = {
        "pooled": pooled,
        "patches": grid,
        "text": model.words.text_projection(words),
      }
    elif kind in ("CLIP", "SigLIP"):
      vision = model.vision_model(images, interpolate_pos_encoding=True)
      text = model.text_model(input_ids=ids).pooler_output
      if kind == "CLIP":
        image = model.visual_projection(vision.pooler_output)
        patches = model.vision_model.post_layernorm(vision.last_hidden_state)
        found = {
          "pooled": image,
          "patches": patches[:, 1:],
          "text": model.text_projection(text),
        }
      else:
        found = {
          "pooled": vision.pooler_output,
          "patches": vision.last_hidden_state,
          "text": text,
        }
    else:
      extra = {"interpolate_pos_encoding": True} if kind == "ViT" else {}
      states = model(images, **extra).last_hidden_state
      first = 5 if "registers" in family or kind == "DINOv3" else 1
      found = {"class": states[:, 0], "patches": states[:, first:]}
  return {name: array.numpy() for name, array in found.items()}
