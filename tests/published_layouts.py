"""What published checkpoints hold: names and shapes, written out by hand.

Each function gives {tensor name: shape} for one family's file at any size. The
library's own name maps are not used: these are what they are tested against.
"""

import numpy as np


def hub(config):
  """facebookresearch/dino and dinov2, .pth."""
  dim, patch = config.dim, config.patch_size
  layout = {
    "cls_token": (1, 1, dim),
    "pos_embed": (1, 1 + config.grid**2, dim),
    "patch_embed.proj.weight": (dim, 3, patch, patch),
    "patch_embed.proj.bias": (dim,),
    "norm.weight": (dim,),
    "norm.bias": (dim,),
  }
  if config.layer_scale:  # DINOv2.
    layout["mask_token"] = (1, dim)
  if config.num_registers:
    layout["register_tokens"] = (1, config.num_registers, dim)
  for i in range(config.depth):
    block = f"blocks.{i}"
    for norm in ("norm1", "norm2"):
      layout[f"{block}.{norm}.weight"] = (dim,)
      layout[f"{block}.{norm}.bias"] = (dim,)
    layout |= _linear(f"{block}.attn.qkv", dim, 3 * dim)
    layout |= _linear(f"{block}.attn.proj", dim, dim)
    if config.ffn == "swiglu":
      layout |= _linear(f"{block}.mlp.w12", dim, 2 * config.mlp_dim)
      layout |= _linear(f"{block}.mlp.w3", config.mlp_dim, dim)
    else:
      layout |= _linear(f"{block}.mlp.fc1", dim, config.mlp_dim)
      layout |= _linear(f"{block}.mlp.fc2", config.mlp_dim, dim)
    if config.layer_scale:
      layout[f"{block}.ls1.gamma"] = (dim,)
      layout[f"{block}.ls2.gamma"] = (dim,)
  return layout


def hugging_face_dino(config):
  """facebook/dinov2-*, dinov2-with-registers-* and dino-vit*, safetensors."""
  dim, patch = config.dim, config.patch_size
  layout = {
    "embeddings.cls_token": (1, 1, dim),
    "embeddings.position_embeddings": (1, 1 + config.grid**2, dim),
    "embeddings.patch_embeddings.projection.weight": (dim, 3, patch, patch),
    "embeddings.patch_embeddings.projection.bias": (dim,),
    "layernorm.weight": (dim,),
    "layernorm.bias": (dim,),
  }
  is_v2 = config.layer_scale
  if is_v2:
    layout["embeddings.mask_token"] = (1, dim)
  if config.num_registers:
    layout["embeddings.register_tokens"] = (1, config.num_registers, dim)
  for i in range(config.depth):
    layer = f"encoder.layer.{i}"
    for part in ("query", "key", "value"):
      layout |= _linear(f"{layer}.attention.attention.{part}", dim, dim)
    layout |= _linear(f"{layer}.attention.output.dense", dim, dim)
    before, after = (
      ("norm1", "norm2") if is_v2 else ("layernorm_before", "layernorm_after")
    )
    for norm in (before, after):
      layout[f"{layer}.{norm}.weight"] = (dim,)
      layout[f"{layer}.{norm}.bias"] = (dim,)
    if not is_v2:
      layout |= _linear(f"{layer}.intermediate.dense", dim, config.mlp_dim)
      layout |= _linear(f"{layer}.output.dense", config.mlp_dim, dim)
      continue
    layout[f"{layer}.layer_scale1.lambda1"] = (dim,)
    layout[f"{layer}.layer_scale2.lambda1"] = (dim,)
    if config.ffn == "swiglu":
      layout |= _linear(f"{layer}.mlp.weights_in", dim, 2 * config.mlp_dim)
      layout |= _linear(f"{layer}.mlp.weights_out", config.mlp_dim, dim)
    else:
      layout |= _linear(f"{layer}.mlp.fc1", dim, config.mlp_dim)
      layout |= _linear(f"{layer}.mlp.fc2", config.mlp_dim, dim)
  return layout


def openai_clip(config, text):
  """OpenAI's TorchScript archives: both towers and three scalars."""
  dim, patch = config.dim, config.patch_size
  layout = {
    "positional_embedding": (text.context_length, text.width),
    "text_projection": (text.width, text.dim),
    "logit_scale": (),
    "input_resolution": (),
    "context_length": (),
    "vocab_size": (),
    "visual.class_embedding": (dim,),
    "visual.positional_embedding": (1 + config.grid**2, dim),
    "visual.proj": (dim, config.projection),
    "visual.conv1.weight": (dim, 3, patch, patch),
    "token_embedding.weight": (text.vocabulary_size, text.width),
  }
  for norm, width in (
    ("visual.ln_pre", dim),
    ("visual.ln_post", dim),
    ("ln_final", text.width),
  ):
    layout[f"{norm}.weight"] = layout[f"{norm}.bias"] = (width,)
  for tower, width, depth in (
    ("visual.transformer", dim, config.depth),
    ("transformer", text.width, text.depth),
  ):
    for i in range(depth):
      block = f"{tower}.resblocks.{i}"
      layout[f"{block}.attn.in_proj_weight"] = (3 * width, width)
      layout[f"{block}.attn.in_proj_bias"] = (3 * width,)
      layout |= _linear(f"{block}.attn.out_proj", width, width)
      for norm in ("ln_1", "ln_2"):
        layout[f"{block}.{norm}.weight"] = (width,)
        layout[f"{block}.{norm}.bias"] = (width,)
      layout |= _linear(f"{block}.mlp.c_fc", width, 4 * width)
      layout |= _linear(f"{block}.mlp.c_proj", 4 * width, width)
  return layout


def hugging_face_clip(config, text):
  """openai/clip-vit-*, safetensors: both towers."""
  dim, patch = config.dim, config.patch_size
  image, words = "vision_model", "text_model"
  layout = {
    "logit_scale": (),
    f"{image}.embeddings.class_embedding": (dim,),
    f"{image}.embeddings.patch_embedding.weight": (dim, 3, patch, patch),
    f"{image}.embeddings.position_embedding.weight": (1 + config.grid**2, dim),
    "visual_projection.weight": (config.projection, dim),
    f"{words}.embeddings.token_embedding.weight": (
      text.vocabulary_size,
      text.width,
    ),
    f"{words}.embeddings.position_embedding.weight": (
      text.context_length,
      text.width,
    ),
    "text_projection.weight": (text.dim, text.width),
  }
  for norm, width in (
    (f"{image}.pre_layrnorm", dim),
    (f"{image}.post_layernorm", dim),
    (f"{words}.final_layer_norm", text.width),
  ):
    layout[f"{norm}.weight"] = layout[f"{norm}.bias"] = (width,)
  for tower, width, depth in (
    (image, dim, config.depth),
    (words, text.width, text.depth),
  ):
    for i in range(depth):
      layer = f"{tower}.encoder.layers.{i}"
      for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
        layout |= _linear(f"{layer}.self_attn.{part}", width, width)
      for norm in ("layer_norm1", "layer_norm2"):
        layout[f"{layer}.{norm}.weight"] = (width,)
        layout[f"{layer}.{norm}.bias"] = (width,)
      layout |= _linear(f"{layer}.mlp.fc1", width, 4 * width)
      layout |= _linear(f"{layer}.mlp.fc2", 4 * width, width)
  return layout


def random_tensors(layout, *, seed):
  """Every tensor drawn at random, so that no swapped or lost one goes unseen.

  Products keep their scale: a matrix has deviation 1 / sqrt(inputs); LayerNorm
  and LayerScale factors are near 0.7. RandomState's stream never changes.
  """
  rng = np.random.RandomState(seed)
  tensors = {}
  for name in sorted(layout):
    shape = layout[name]
    values = rng.standard_normal(shape)
    is_factor = "norm" in name or "ln_" in name or "layer_scale" in name
    is_factor |= name.endswith(".gamma")
    if is_factor and not name.endswith("bias"):
      values = 0.7 + 0.25 * values
    elif len(shape) > 1:
      fan_in = shape[0] if name.endswith("proj") else np.prod(shape[1:])
      values = values * (1 if shape[0] == 1 else fan_in**-0.5)
    else:
      values = 0.25 * values
    tensors[name] = np.asarray(values, np.float32)
  return tensors


def _linear(name, in_dim, out_dim):
  return {f"{name}.weight": (out_dim, in_dim), f"{name}.bias": (out_dim,)}
