"""A trained ViT-S/14: activations that random weights do not have.

VISUAL_MEMORY_TRAINED names a folder with its model.safetensors, in the Hugging
Face layout of DINOv2.
"""

import os
import pathlib

import jax
import numpy as np
import pytest
import torch_files
import vit_oracle
from safetensors.numpy import load_file

import visual_memory as vm
from visual_memory.encoders import vit

FOLDER = os.environ.get("VISUAL_MEMORY_TRAINED")
pytestmark = pytest.mark.skipif(
  FOLDER is None, reason="VISUAL_MEMORY_TRAINED names no trained ViT-S/14"
)

MOST = 5e-5
"""Of values that reach 12; float32 rounding over twelve blocks."""

HUB = {
  "embeddings.cls_token": "cls_token",
  "embeddings.position_embeddings": "pos_embed",
  "embeddings.mask_token": "mask_token",
  "embeddings.patch_embeddings.projection": "patch_embed.proj",
  "layernorm": "norm",
  "encoder.layer": "blocks",
  "attention.output.dense": "attn.proj",
  "layer_scale1.lambda1": "ls1.gamma",
  "layer_scale2.lambda1": "ls2.gamma",
}
SIZES = ((224, 224), (322, 238))


def hub_tensors(tensors):
  """The same weights as the hub's files name them."""
  made = {}
  for name, value in tensors.items():
    for theirs, hubs in HUB.items():
      name = name.replace(theirs, hubs)
    made[name] = value
  for block in range(12):
    for kind in ("weight", "bias"):
      parts = [
        made.pop(f"blocks.{block}.attention.attention.{part}.{kind}")
        for part in ("query", "key", "value")
      ]
      made[f"blocks.{block}.attn.qkv.{kind}"] = np.concatenate(parts)
  return made


def tokens_of(weights, pixels):
  """All tokens, by an encoder as it is loaded for images of this size."""
  encoder = vm.load_encoder(
    "dinov2_vits14", weights=str(weights), image_size=pixels.shape[1:3]
  )
  run = jax.jit(vit.forward, static_argnames="config")
  outputs = run(encoder.params, pixels, config=encoder.apply.config)
  return np.concatenate([outputs.class_token[:, None], outputs.patch_tokens], 1)


@pytest.mark.parametrize("size", SIZES)
def test_its_origins_positions_are_those_of_transformers(size, tmp_path):
  torch = pytest.importorskip("torch", reason="the live comparison needs torch")
  transformers = pytest.importorskip("transformers", reason="needs it")
  config = transformers.Dinov2Config(
    hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14
  )
  config.save_pretrained(tmp_path)
  weights = pathlib.Path(FOLDER, "model.safetensors").resolve()
  (tmp_path / weights.name).symlink_to(weights)
  model = transformers.Dinov2Model.from_pretrained(tmp_path).eval()
  pixels = np.random.RandomState(0).standard_normal((2, *size, 3)) * 1.5
  pixels = pixels.astype(np.float32)
  with torch.no_grad():
    found = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
  ours = tokens_of(FOLDER, pixels)
  difference = np.abs(ours - found.last_hidden_state.numpy()).max()
  print(f"largest difference: {difference}")
  assert difference <= MOST


@pytest.mark.parametrize("size", SIZES)
def test_the_hubs_positions_are_those_of_its_formulas(size, tmp_path):
  tensors = hub_tensors(load_file(pathlib.Path(FOLDER) / "model.safetensors"))
  path = tmp_path / "weights.pth"
  torch_files.write_pth(path, tensors)
  pixels = np.random.RandomState(1).standard_normal((1, *size, 3)) * 1.5
  pixels = pixels.astype(np.float32)
  config = vm.load_encoder("dinov2_vits14", weights=str(path)).apply.config
  expected = vit_oracle.hub_forward(tensors, pixels, config=config)
  difference = np.abs(tokens_of(path, pixels) - expected).max()
  print(f"largest difference: {difference}")
  assert difference <= MOST
