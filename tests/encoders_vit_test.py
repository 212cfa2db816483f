"""The vision transformer: equal to torch, to NumPy and to stored outputs."""

import dataclasses
import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import published_layouts
import pytest
import torch_files
import vit_oracle
from flax import nnx
from golden import make_encoder_goldens as goldens
from scipy import special

from visual_memory.encoders import (
  layers,
  patch_grid,
  settings,
  transformer,
  vit,
)
from visual_memory.encoders.families import catalog, clip, dino
from visual_memory.encoders.published import params as params_lib
from visual_memory.encoders.text import text_tower

# float32 rounding over a few blocks of unit-variance tokens is 2e-6; a wrong
# epsilon or the tanh form of GELU gives 4e-5 or more.
ATOL = 1e-5
DEEP_ATOL = 2e-5  # Over 24 to 40 blocks.

TINY = goldens.TINY
SIZES = ((28, 28), (20, 20), (40, 36))
"""Native, smaller, and larger oblong images, of patches of four pixels."""

run = jax.jit(
  vit.forward, static_argnames=("config", "precision", "blocks", "attention")
)


def pixels_of(size, batch=2):
  return goldens.pixels_of(size, batch=batch)


def all_tokens(outputs):
  class_token = outputs.class_token[:, None]
  parts = class_token, outputs.register_tokens, outputs.patch_tokens
  return np.concatenate(parts, axis=1)


def tower(path, config):
  return params_lib.load_tower(
    path,
    template=vit.shapes(config),
    namings=clip.IMAGE if config.projection else dino.IMAGE,
    others=clip.TEXT if config.projection else (),
  ).params


@pytest.mark.parametrize("family", TINY)
def test_equal_to_transformers_at_every_size(family, tmp_path):
  pytest.importorskip("torch", reason="the live comparison needs torch")
  pytest.importorskip("transformers", reason="needs transformers")
  config = goldens.hugging_face_config(family)
  model = goldens.torch_model(family, config)
  torch_files.randomize(model)
  model.save_pretrained(tmp_path)  # In the published layout.
  params = tower(tmp_path, config)
  for size in SIZES:
    pixels = pixels_of(size)
    expected, tokens = goldens.torch_outputs(family, model, pixels)
    outputs = run(params, pixels, config=config)
    np.testing.assert_allclose(outputs.embedding, expected, atol=ATOL)
    if tokens is not None:
      np.testing.assert_allclose(all_tokens(outputs), tokens, atol=ATOL)


def test_published_size_is_equal_to_transformers(tmp_path):
  torch = pytest.importorskip("torch", reason="the live comparison needs torch")
  transformers = pytest.importorskip("transformers", reason="needs it")
  config = dataclasses.replace(
    catalog.MODELS["dinov2_vits14"].image, position_rule="plain"
  )
  model = transformers.Dinov2Model(
    transformers.Dinov2Config(
      hidden_size=384,
      num_hidden_layers=12,
      num_attention_heads=6,
      image_size=518,
      patch_size=14,
    )
  ).eval()
  torch_files.randomize(model)
  model.save_pretrained(tmp_path)
  params = tower(tmp_path, config)
  pixels = pixels_of((224, 224), batch=1)
  with torch.no_grad():
    expected = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
  ours = run(params, pixels, config=config).class_token
  np.testing.assert_allclose(ours, expected.pooler_output, atol=ATOL)


@pytest.mark.parametrize("family", TINY)
def test_equal_to_the_stored_outputs_of_transformers(family, tmp_path):
  config = goldens.hugging_face_config(family)
  goldens.write_hugging_face(family, tmp_path)
  params = tower(tmp_path, config)
  with np.load(pathlib.Path(goldens.__file__).parent / "encoders.npz") as file:
    for size in goldens.SIZES:
      expected = file[goldens.key(family, size)]
      ours = run(params, pixels_of(size), config=config).embedding
      np.testing.assert_allclose(ours, expected, atol=ATOL)


@pytest.mark.parametrize(
  ("family", "size"),
  [
    ("dinov2", (20, 20)),
    ("dinov2", (40, 36)),
    ("dinov2_reg", (40, 36)),
    ("dinov2_swiglu", (28, 28)),
    ("dino", (20, 36)),
  ],
)
def test_equal_to_numpy_by_the_authors_rule(family, size, tmp_path):
  config = TINY[family]
  tensors = published_layouts.random_tensors(
    published_layouts.hub(config), seed=1
  )
  torch_files.write_pth(tmp_path / "model.pth", tensors)
  params = tower(tmp_path / "model.pth", config)
  pixels = pixels_of(size)
  expected = vit_oracle.hub_forward(tensors, pixels, config=config)
  outputs = run(params, pixels, config=config)
  np.testing.assert_allclose(all_tokens(outputs), expected, atol=ATOL)


def test_clip_is_equal_to_numpy(tmp_path):
  config = TINY["clip"]
  layout = published_layouts.openai_clip(config, goldens.TINY_TEXT)
  tensors = published_layouts.random_tensors(layout, seed=1)
  torch_files.write_torchscript(tmp_path / "clip.pt", tensors)
  params = tower(tmp_path / "clip.pt", config)
  pixels = pixels_of((28, 28))
  expected = vit_oracle.clip_forward(tensors, pixels, config=config)
  ours = run(params, pixels, config=config).embedding
  np.testing.assert_allclose(ours, expected, atol=ATOL)


def test_forty_blocks_are_equal_to_numpy(tmp_path):
  config = dataclasses.replace(TINY["dinov2_swiglu"], depth=40)
  tensors = published_layouts.random_tensors(
    published_layouts.hub(config), seed=2
  )
  torch_files.write_pth(tmp_path / "model.pth", tensors)
  params = tower(tmp_path / "model.pth", config)
  pixels = pixels_of((20, 20))
  expected = vit_oracle.hub_forward(tensors, pixels, config=config)
  ours = run(params, pixels, config=config).class_token
  np.testing.assert_allclose(ours, expected[:, 0], atol=DEEP_ATOL)


def test_blocks_and_attention_maps():
  config = TINY["dinov2_reg"]
  params = vit.init(config, seed=0)
  last = config.depth - 1
  outputs = run(
    params, pixels_of((28, 28)), config=config, blocks=(0, last), attention=(0,)
  )
  tokens = 1 + 4 + 49
  np.testing.assert_array_equal(outputs.blocks[last], all_tokens(outputs))
  assert outputs.blocks[0].shape == (2, tokens, config.dim)
  assert set(outputs.blocks) == {0, last} and set(outputs.attention) == {0}
  assert outputs.attention[0].shape == (2, config.num_heads, tokens, tokens)
  np.testing.assert_allclose(outputs.attention[0].sum(-1), 1, atol=1e-6)


def test_attention_maps_are_those_of_transformers(tmp_path):
  torch = pytest.importorskip("torch", reason="the live comparison needs torch")
  pytest.importorskip("transformers", reason="needs transformers")
  config = goldens.hugging_face_config("dinov2")
  model = goldens.torch_model("dinov2", config)
  torch_files.randomize(model)
  model.save_pretrained(tmp_path)
  params = tower(tmp_path, config)
  model.set_attn_implementation("eager")
  pixels = pixels_of((28, 28))
  with torch.no_grad():
    expected = model(
      torch.from_numpy(pixels.transpose(0, 3, 1, 2)), output_attentions=True
    ).attentions
  ours = run(params, pixels, config=config, attention=(1,)).attention[1]
  np.testing.assert_allclose(ours, expected[1], atol=1e-6)


def test_prepared_params_serve_one_resolution_alone():
  config = TINY["dinov2"]
  params = vit.init(config, seed=0)
  prepared = vit.prepare(params, config, grid=(5, 9))
  pixels = pixels_of((20, 36))
  np.testing.assert_allclose(
    run(prepared, pixels, config=config).class_token,
    run(params, pixels, config=config).class_token,
    atol=1e-6,
  )
  with pytest.raises(ValueError, match="prepared for 5x9 patches.*have 9x5"):
    run(prepared, pixels_of((36, 20)), config=config)


def test_images_do_not_depend_on_their_batch(monkeypatch):
  config = TINY["dinov2_reg"]
  params = vit.init(config, seed=0)
  pixels = pixels_of((28, 28), batch=6)
  whole = run(params, pixels, config=config)
  per_image = 4 * (1 + 4 + 49) * config.mlp_dim
  monkeypatch.setattr(vit, "_CACHE_BYTES", 4 * per_image)
  assert vit.images_at_once(config, pixels.shape) == 3  # 4 does not divide 6.
  parts = jax.jit(functools.partial(vit.forward, config=config))(params, pixels)
  for mine, its in zip(
    jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True
  ):
    np.testing.assert_allclose(mine, its, atol=1e-6)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert vit.images_at_once(config, pixels.shape) == 6


@pytest.mark.parametrize("family", TINY)
def test_an_embedding_alone_takes_less_and_is_the_same(family):
  config = TINY[family]
  params = vit.init(config, seed=0)
  pixels = pixels_of((28, 28))
  programs = {
    wanted: jax.jit(
      functools.partial(vit.forward, config=config, patches=wanted)
    )
    .lower(params, pixels)
    .compile()
    for wanted in (True, False)
  }
  whole, first = (programs[wanted](params, pixels) for wanted in (True, False))
  np.testing.assert_allclose(first.embedding, whole.embedding, atol=2e-6)
  np.testing.assert_allclose(first.class_token, whole.class_token, atol=2e-6)
  np.testing.assert_allclose(
    first.register_tokens, whole.register_tokens, atol=2e-6
  )
  if config.pool != "class":
    assert first.patch_tokens.shape == whole.patch_tokens.shape
    return
  assert first.patch_tokens.shape == (2, 0, config.dim)
  counted = [programs[way].cost_analysis()["flops"] for way in (True, False)]
  share = 10 / 12 / config.depth
  assert counted[1] < counted[0] * (1 - 0.8 * share)


def test_what_is_asked_of_the_last_block_is_whole():
  config = TINY["dinov2_reg"]
  params = vit.init(config, seed=0)
  pixels, last, tokens = pixels_of((28, 28)), config.depth - 1, 1 + 4 + 49
  for asked in ("blocks", "attention"):
    outputs = vit.forward(
      params, jnp.asarray(pixels), config=config, patches=False,
      **{asked: (last,)},
    )  # fmt: skip
    assert outputs.patch_tokens.shape[1] == 49
    assert getattr(outputs, asked)[last].shape[-2] == tokens


@pytest.mark.parametrize("fused", [None, "xla"])
def test_bfloat16_keeps_directions(fused, monkeypatch):
  # "xla" takes the way of the fused attention that GPUs have.
  monkeypatch.setattr(transformer, "fused_attention", lambda: fused)
  config = TINY["dinov2_reg"]
  tensors = published_layouts.random_tensors(
    published_layouts.hub(config), seed=1
  )
  params = params_lib.convert(
    tensors, template=vit.shapes(config), namings=dino.IMAGE
  ).params
  pixels = pixels_of((28, 28), batch=4)
  exact = run(params, pixels, config=config).embedding
  half = vit.prepare(params, config, grid=(7, 7), precision="bfloat16")
  assert half["blocks"][0]["attn"]["qkv"]["kernel"].dtype == jnp.bfloat16
  forward = functools.partial(
    vit.forward, config=config, precision="bfloat16", attention=()
  )
  rounded = jax.jit(forward)(half, pixels).embedding
  assert rounded.dtype == jnp.float32
  cosine = np.sum(exact * rounded, -1) / (
    np.linalg.norm(exact, axis=-1) * np.linalg.norm(rounded, axis=-1)
  )
  assert np.all(1 - cosine < 1e-4)
  assert np.all(1 - cosine > 1e-8), "nothing was rounded"


def test_fused_attention_is_for_cuda_alone():
  assert transformer.fused_attention() is None


@pytest.mark.parametrize("tokens", [6, 7])
@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention_has_a_gradient_for_any_number_of_tokens(
  tokens, causal
):
  q, k, v = np.random.default_rng(0).standard_normal(
    (3, 2, tokens, 3, 8), np.float32
  )

  def fused(q, k, v):
    return jnp.sum(jnp.sin(transformer._fused(q, k, v, causal, "xla")))

  def plain(*parts):
    heads_first = (part.swapaxes(1, 2) for part in parts)
    return jnp.sum(
      jnp.sin(
        transformer.attend(*heads_first, causal=causal, precision="float32")[0]
      )
    )

  ours = jax.jit(jax.grad(fused, (0, 1, 2)))(q, k, v)
  expected = jax.jit(jax.grad(plain, (0, 1, 2)))(q, k, v)
  for mine, its in zip(ours, expected, strict=True):
    np.testing.assert_allclose(mine, its, atol=2e-6)


def test_gradients_of_half_products_have_the_type_of_what_was_given():
  last = (((1,), (0,)), ((), ()))
  for dtype in (jnp.bfloat16, jnp.float32):
    x, y = jnp.ones((2, 3), dtype), jnp.ones((3, 4))
    gradient = jax.grad(
      lambda x, y: jnp.sum(layers.dot(x, y, last, precision="bfloat16"))
    )(x, y)
    assert gradient.dtype == dtype


PUBLISHED_COUNTS = {
  # Without the mask token; the keys' biases are ours, and zero.
  "dinov3_vits16": 21_596_544 - 384 + 12 * 384,
  "dinov3_vitl16": 303_129_600 - 1024 + 24 * 1024,
  "dinov3_vith16plus": 840_592_640 - 1280 + 32 * 1280,
  "dinov3_vit7b16": 6_716_035_072 - 4096,
  "mae_vith14": 630_764_800,
  "deit_vitti16": 5_524_416,
  "augreg_vits16": 21_665_664,
  "augreg_vitl16": 303_301_632,
  # Facts of the released files, less the mask token of DINOv2.
  "dinov2_vits14": 22_056_576 - 384,
  "dinov2_vits14_reg": 22_058_112 - 384,
  "dinov2_vitb14": 86_580_480 - 768,
  "dinov2_vitl14": 304_368_640 - 1024,
  "dinov2_vitg14": 1_136_480_768 - 1536,
  "dino_vits8": 21_670_272,
  "dino_vits16": 21_665_664,
  "dino_vitb8": 85_807_872,
  "dino_vitb16": 85_798_656,
}
CLIP_COUNTS = {
  "clip_vith14_laion2b": 986_109_441,
  "clip_vitg14_laion2b": 1_366_678_273,
  "clip_vitbigg14_laion2b": 2_539_567_105,
  "siglip_vitb16_224": 203_155_970,
  "siglip_vitl16_256": 652_150_786,
  "siglip_vitso400m14_384": 877_960_498,
  "siglip2_vitb16_224": 375_187_970,
  "siglip2_vitso400m14_224": 1_135_463_602,
  "siglip2_vitgopt16_256": 1_871_393_906,
  "clip_vitb32": 151_277_313,
  "clip_vitb16": 149_620_737,
  "clip_vitl14": 427_616_513,
  "clip_vitl14_336": 427_944_193,
}


def num_params(tower, config):
  """Of a tower, all of whose blocks are alike."""
  shapes = tower.shapes(dataclasses.replace(config, depth=1))
  block = shapes.pop("blocks")[0]
  of = lambda tree: sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
  return of(shapes) + config.depth * of(block)


def test_sizes_are_the_published_ones():
  counted = set(PUBLISHED_COUNTS) | set(CLIP_COUNTS)
  first = [n for key in ("dinov2", "dino", "clip")
           for n in catalog.FAMILIES[key].models]  # fmt: skip
  assert {name.removesuffix("_reg") for name in first} < counted
  for name, count in PUBLISHED_COUNTS.items():
    assert num_params(vit, catalog.MODELS[name].image) == count, name
  for name, count in CLIP_COUNTS.items():  # Both towers and the temperature.
    text = num_params(text_tower, catalog.MODELS[name].text)
    image = num_params(vit, catalog.MODELS[name].image)
    assert image + text == count, name


def test_plain_vits_of_any_size():
  config = settings.vit("vit_ti", image_size=64, patch_size=8, num_registers=2)
  assert (config.dim, config.grid, config.num_registers) == (192, 8, 2)
  with pytest.raises(ValueError, match="Unknown ViT 'vit_xl'; known: vit_ti"):
    settings.vit("vit_xl", image_size=64, patch_size=8)
  with pytest.raises(ValueError, match="64 pixels is not a whole number"):
    settings.vit("vit_s", image_size=64, patch_size=14)


def test_bad_requests_are_named():
  config = TINY["dino"]
  params = vit.init(config, seed=0)
  pixels = pixels_of((28, 28))
  with pytest.raises(ValueError, match="Unknown precision 'fp8'"):
    vit.forward(params, pixels, config=config, precision="fp8")
  with pytest.raises(ValueError, match="Block 2 was asked for"):
    vit.forward(params, pixels, config=config, attention=(2,))
  with pytest.raises(ValueError, match="28x30 pixels is not a whole number"):
    vit.forward(params, pixels_of((28, 30)), config=config)


@pytest.mark.parametrize("sizes", [(7, 5), (7, 10), (37, 16), (16, 37)])
def test_resampling_is_that_of_torch(sizes):
  torch = pytest.importorskip("torch", reason="the live comparison needs torch")
  size, new_size = sizes
  eye = torch.eye(size, dtype=torch.float64)[None, :, :, None]
  eye = eye.expand(1, size, size, 2).contiguous()  # Two equal columns.
  bicubic = functools.partial(
    torch.nn.functional.interpolate, mode="bicubic", align_corners=False
  )
  expected = {
    "plain": bicubic(eye, size=(new_size, 2)),
    "antialias": bicubic(eye, size=(new_size, 2), antialias=True),
    "offset": bicubic(eye, scale_factor=((new_size + 0.1) / size, 1.0)),
  }
  for rule, matrix in expected.items():
    ours = patch_grid.cubic_matrix(size, new_size, rule=rule)
    np.testing.assert_allclose(ours.T, matrix[0, :, :, 0], atol=1e-12)


def test_an_unknown_rule_is_named():
  with pytest.raises(ValueError, match="Unknown position rule 'nearest'"):
    patch_grid.resample(np.zeros((3, 3, 2)), (2, 2), rule="nearest")


def test_layer_norm_survives_a_large_mean():
  rows = 3000 + np.random.default_rng(0).standard_normal((4, 64))
  rows = rows.astype(np.float32)
  exact = rows.astype(np.float64)
  exact -= exact.mean(-1, keepdims=True)
  exact /= np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-6)
  norm = layers.LayerNorm(64, eps=1e-6)
  # The mean is known to 3000 * 2^-24; its square would lose ten times more.
  np.testing.assert_allclose(norm(rows), exact, atol=5e-4)


def test_activations_are_exact():
  x = np.linspace(-6, 6, 1001, dtype=np.float32)
  exact = x * 0.5 * (1 + special.erf(x / np.sqrt(2.0)))
  np.testing.assert_allclose(layers.gelu(x), exact, atol=1e-6)
  quick = x * special.expit(1.702 * x)
  np.testing.assert_allclose(layers.quick_gelu(x), quick, atol=1e-6)


def test_causal_blocks_look_back_alone():
  block = transformer.Block(48, num_heads=3, mlp_dim=64, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).standard_normal((1, 6, 48)).astype(np.float32)
  changed = x.copy()
  changed[:, 4:] += 1
  run = lambda **how: jax.jit(functools.partial(block, causal=True, **how))
  before, maps = run(maps=True)(x)
  after, nothing = run()(changed)
  assert nothing is None
  np.testing.assert_array_equal(before[:, :4], after[:, :4])
  assert np.abs(before[:, 4:] - after[:, 4:]).min() > 0
  assert np.all(np.triu(maps[0, 0], k=1) == 0)
