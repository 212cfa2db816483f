"""Class activation maps against torch's gradients."""

import jax.numpy as jnp
import numpy as np
import pytest
from golden import make_encoder_goldens as goldens

from visual_memory.encoders import settings, vit
from visual_memory.encoders.families import dino
from visual_memory.encoders.grad_cam import grad_cam
from visual_memory.encoders.patch_grid import patch_grid
from visual_memory.encoders.published import params as params_lib


@pytest.mark.parametrize("family", ["dinov2", "dinov2_reg"])
def test_maps_are_those_of_torch(family, tmp_path):
  torch = pytest.importorskip("torch", reason="the live comparison needs torch")
  pytest.importorskip("transformers", reason="needs transformers")
  config = goldens.hugging_face_config(family)
  model = goldens.torch_model(family, config)
  model.save_pretrained(tmp_path)
  params = params_lib.load_tower(
    tmp_path, template=vit.shapes(config), namings=dino.IMAGE
  ).params
  pixels = goldens.pixels_of((28, 28), batch=2)
  weights = np.random.default_rng(0).normal(size=config.dim)
  weights = weights.astype(np.float32)

  seen = []
  norm = model.encoder.layer[-1].norm1
  norm.register_forward_hook(lambda *call: seen.append(call[2]))
  norm.register_forward_hook(lambda *call: call[2].retain_grad())
  output = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
  (output.pooler_output @ torch.from_numpy(weights)).sum().backward()
  first = 1 + config.num_registers
  gradient, activation = seen[0].grad[:, first:], seen[0][:, first:]
  expected = torch.relu((gradient.mean(1, keepdim=True) * activation).sum(-1))
  expected = expected.detach().numpy().reshape(2, -1)
  expected -= expected.min(axis=1, keepdims=True)
  expected /= expected.max(axis=1, keepdims=True)

  found = grad_cam(
    params,
    config,
    jnp.asarray(pixels),
    readout=lambda outputs: outputs.embedding @ weights,
  )
  rows, columns = patch_grid((28, 28), config.patch_size)
  assert found.shape == (2, rows, columns)
  np.testing.assert_allclose(found.reshape(2, -1), expected, atol=1e-5)


def test_a_score_that_sees_nothing_has_an_empty_map():
  config = settings.vit("vit_ti", image_size=8, patch_size=4, dim=24, depth=1,
                   num_heads=2, mlp_dim=48)  # fmt: skip
  params = vit.init(config, seed=0)
  found = grad_cam(
    params,
    config,
    jnp.ones((1, 8, 8, 3)),
    readout=lambda outputs: 0 * outputs.embedding[:, 0],
  )
  assert not found.any() and found.shape == (1, 2, 2)
