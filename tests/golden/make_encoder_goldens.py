"""Makes encoders.npz: what transformers computes for small seeded models.

  python -m tests.golden.make_encoder_goldens     (needs torch, transformers)

Weights are drawn from a seed and written in the published layout, so that the
tests can rebuild them without torch and compare with the outputs stored here.
Made with torch 2.13.0 and transformers 5.23.0.
"""

import dataclasses
import functools
import json
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import published_layouts
from safetensors.numpy import save_file

from visual_memory.encoders import settings

SEED = 5
SIZES = ((28, 28), (20, 36))
"""Of the images whose outputs are stored: native and not."""

_TINY = {
  "dim": 48,
  "depth": 2,
  "num_heads": 3,
  "patch_size": 4,
  "grid": 7,
  "image_size": 28,
}
_tiny = functools.partial(settings.ViTConfig, **_TINY)
TINY = {
  "dinov2": _tiny(mlp_dim=192, layer_scale=True),
  "dinov2_reg": _tiny(
    mlp_dim=192, layer_scale=True, num_registers=4, position_rule="antialias"
  ),
  "dinov2_swiglu": _tiny(mlp_dim=128, layer_scale=True, ffn="swiglu"),
  "dino": _tiny(mlp_dim=192),
  "clip": _tiny(
    mlp_dim=192,
    act="quick_gelu",
    eps=1e-5,
    ln_pre=True,
    patch_bias=False,
    projection=24,
    position_rule="plain",
  ),
}
"""One small model of each family."""

TINY_TEXT = settings.TextConfig(
  width=32, depth=2, num_heads=2, dim=24, vocabulary_size=100, context_length=10
)


def hugging_face_config(family):
  """The settings by which transformers runs a family.

  Its rule for positions is the authors' own for register models alone.
  """
  config = TINY[family]
  if family == "dinov2_reg":
    return config
  return dataclasses.replace(config, position_rule="plain")


def pixels_of(size, *, batch=2):
  """Seeded normalized images, [batch, *size, 3]."""
  rng = np.random.RandomState(SEED)
  return rng.standard_normal((batch, *size, 3)).astype(np.float32)


def key(family, size):
  """The name of one stored array."""
  return f"{family} {size[0]}x{size[1]}"


def write_hugging_face(family, folder):
  """Seeded weights of a family, as a published Hugging Face directory."""
  if family == "clip":
    layout = published_layouts.hugging_face_clip(TINY[family], TINY_TEXT)
  else:
    layout = published_layouts.hugging_face_dino(TINY[family])
  tensors = published_layouts.random_tensors(layout, seed=SEED)
  save_file(
    tensors, pathlib.Path(folder) / "model.safetensors", {"format": "pt"}
  )


def torch_model(family, config):
  """transformers' model class of a family at this size."""
  import transformers

  shared = {
    "hidden_size": config.dim,
    "num_hidden_layers": config.depth,
    "num_attention_heads": config.num_heads,
    "patch_size": config.patch_size,
    "image_size": config.grid * config.patch_size,
  }
  if family == "clip":
    model = transformers.CLIPVisionModelWithProjection(
      transformers.CLIPVisionConfig(
        **shared,
        intermediate_size=config.mlp_dim,
        projection_dim=config.projection,
      )
    )
  elif family == "dino":
    # The published weights were trained with this epsilon; the class's own
    # default is another.
    model = transformers.ViTModel(
      transformers.ViTConfig(
        **shared, intermediate_size=config.mlp_dim, layer_norm_eps=1e-6
      ),
      add_pooling_layer=False,
    )
  elif family == "dinov2_reg":
    model = transformers.Dinov2WithRegistersModel(
      transformers.Dinov2WithRegistersConfig(**shared, num_register_tokens=4)
    )
  else:
    swiglu = config.ffn == "swiglu"
    model = transformers.Dinov2Model(
      transformers.Dinov2Config(**shared, use_swiglu_ffn=swiglu)
    )
  return model.eval()


def torch_outputs(family, model, pixels):
  """transformers' embeddings, and all tokens after the final LayerNorm."""
  import torch

  images = torch.from_numpy(pixels.transpose(0, 3, 1, 2))
  resample = family in ("clip", "dino")
  extra = {"interpolate_pos_encoding": True} if resample else {}
  with torch.no_grad():
    outputs = model(images, **extra)
  if family == "clip":
    return outputs.image_embeds.numpy(), None
  tokens = outputs.last_hidden_state.numpy()
  return tokens[:, 0], tokens


def main():
  """Computes and writes every stored output."""
  arrays = {}
  for family in TINY:
    model = torch_model(family, hugging_face_config(family))
    with tempfile.TemporaryDirectory() as folder:
      write_hugging_face(family, folder)
      config_path = pathlib.Path(folder) / "config.json"
      config_path.write_text(json.dumps(model.config.to_dict(), default=str))
      options = {} if family != "dino" else {"add_pooling_layer": False}
      model, report = type(model).from_pretrained(
        folder, config=model.config, output_loading_info=True, **options
      )
    if report["missing_keys"] or report["mismatched_keys"]:
      raise ValueError(f"{family} was not loaded whole: {report}")
    for size in SIZES:
      embedding, _ = torch_outputs(family, model.eval(), pixels_of(size))
      arrays[key(family, size)] = embedding
  np.savez(pathlib.Path(__file__).parent / "encoders.npz", **arrays)


if __name__ == "__main__":
  main()
