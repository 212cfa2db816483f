"""CLIP's ResNets as encoders: sizes, options, refusals, files of others."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import published_layouts
import pytest
import torch_files
from golden import make_encoder_goldens as goldens
from published_files import random_file
from safetensors.numpy import save_file

from visual_memory.encoders import encoder as encoder_lib
from visual_memory.encoders import listing, resnet
from visual_memory.encoders.embedding.embed_patches import patch_encoder
from visual_memory.encoders.encoder import load_encoder
from visual_memory.encoders.families import catalog, clip
from visual_memory.encoders.outputs import POOLINGS
from visual_memory.encoders.text import text_tower
from visual_memory.encoders.tokens import probe_encoder, tokens_of
from visual_memory.rerank import by_patches

FAMILY = catalog.FAMILIES["clip_resnet"]
TINY = dataclasses.replace(
  FAMILY.models["clip_rn50"].image,
  layers=(1, 2, 1, 1),
  width=8,
  image_size=64,
  projection=24,
)
TEXT = goldens.TINY_TEXT
run = jax.jit(resnet.forward, static_argnames=("config", "precision"))
DESCRIBED = {
  "model_cfg": {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8,
                   "patch_size": None},
    "text_cfg": {"width": 32, "heads": 2, "layers": 2, "vocab_size": 100,
                 "context_length": 10},
  },
  "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3},
}  # fmt: skip


def tensors():
  """Both towers, as open_clip has them, and what training counted."""
  image = random_file(resnet.shapes(TINY), FAMILY.image[0])
  for name, value in image.items():
    if name.endswith(("running_var", ".weight")) and value.ndim == 1:
      image[name] = np.abs(value) + 0.5
    elif value.ndim > 1:  # Products keep their scale.
      image[name] = value / math.prod(value.shape[1:]) ** 0.5
  counted = {
    name.replace("running_var", "num_batches_tracked"): np.array(7)
    for name in image
    if name.endswith("running_var")
  }
  words = random_file(text_tower.shapes(TEXT), clip.OPENAI_TEXT)
  return {**image, **counted, **words}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A small one as open_clip's repositories are."""
  folder = tmp_path_factory.mktemp("resnet")
  save_file(tensors(), folder / "open_clip_model.safetensors")
  (folder / "open_clip_config.json").write_text(json.dumps(DESCRIBED))
  return folder


@pytest.fixture(scope="module")
def encoder(folder):
  return load_encoder(str(folder))


@pytest.fixture(scope="module")
def images():
  random = np.random.RandomState(0)
  return [random.randint(0, 256, (70, 90, 3)).astype("u1") for _ in range(2)]


@pytest.fixture
def as_rn50(monkeypatch):
  """The small one in the place of RN50."""
  model = FAMILY.models["clip_rn50"]
  preprocess = dataclasses.replace(model.preprocess, resize=64, crop=64)
  small = dataclasses.replace(
    model, image=TINY, text=TEXT, preprocess=preprocess
  )
  monkeypatch.setitem(catalog.MODELS, "clip_rn50", small)


def test_sizes_are_the_published_ones():
  """open_clip's profile of its models, in millions of parameters."""
  published = {
    "clip_rn50": (38.32, 102.01),
    "clip_rn101": (56.26, 119.69),
    "clip_rn50x4": (87.14, 178.30),
    "clip_rn50x16": (167.33, 290.98),
    "clip_rn50x64": (420.38, 623.26),
  }
  assert set(published) == set(FAMILY.models)
  for name, (image, both) in published.items():
    model = FAMILY.models[name]
    count = listing.count_image(model.image)
    assert round(count / 1e6, 2) == image, name
    total = count + listing.count_text(model.text)
    assert round(total / 1e6, 2) == both, name
    assert model.preprocess.shape == (model.image.image_size,) * 2
  leaves = jax.tree_util.tree_leaves_with_path(resnet.shapes(TINY))
  trained = sum(
    leaf.size
    for path, leaf in leaves
    if path[-1].key not in ("mean", "variance")
  )
  assert trained == listing.count_image(TINY)


def test_an_encoder_as_any_other(encoder, images):
  assert (encoder.name, encoder.dim) == ("clip_resnet_256x5x32", 24)
  assert encoder.grid == (2, 2) and encoder.preprocess.std == (0.25,) * 3
  rows = encoder.encode(images)
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
  assert np.abs(rows[0] - rows[1]).max() > 1e-3
  programs = encoder_lib.unit_embeddings._cache_size()
  again = encoder.encode(images[::-1])[::-1]
  np.testing.assert_allclose(again, rows, atol=1e-6)
  assert encoder_lib.unit_embeddings._cache_size() == programs
  pixels = np.stack([encoder.preprocess(image) for image in images])
  patches = jax.jit(encoder.apply_patches)(encoder.params, pixels)
  assert patches.shape == (2, 4, 256)
  assert patch_encoder(encoder).apply is encoder.apply_patches
  found = by_patches.patch_tokens(encoder, images, patch=16)
  lengths = np.linalg.norm(patches, axis=-1, keepdims=True)
  np.testing.assert_allclose(found, patches / lengths, atol=1e-5)
  assert probe_encoder(encoder) is encoder


def test_poolings_and_precisions(folder, encoder, images):
  pixels = jnp.stack([encoder.preprocess(image) for image in images])
  outputs = run(encoder.params, pixels, config=TINY)
  for pooling, pooled in POOLINGS.items():
    other = load_encoder(str(folder), pooling=pooling)
    rows = np.asarray(pooled(outputs))
    np.testing.assert_allclose(
      other.encode(images),
      rows / np.linalg.norm(rows, axis=1, keepdims=True),
      atol=1e-5,
    )
    assert (other.fingerprint == encoder.fingerprint) == (pooling == "class")
  exact = encoder.encode(images)
  cost = {}
  for precision in ("bfloat16", "float16"):
    half = load_encoder(str(folder), precision=precision)
    assert half.params["conv1"]["kernel"].dtype == precision
    assert half.params["conv1"]["variance"].dtype == np.float32
    cost[precision] = 1 - (half.encode(images) * exact).sum(axis=1).min()
  assert 0 < cost["float16"] < cost["bfloat16"] / 8 < 1e-3


def test_groups_of_images_are_the_same_as_all(monkeypatch, encoder):
  pixels = np.random.RandomState(0).randn(6, 64, 64, 3).astype("f")
  groups = run(encoder.params, pixels, config=TINY)
  monkeypatch.setattr(resnet, "_AT_ONCE", 6)
  run.clear_cache()
  whole = run(encoder.params, pixels, config=TINY)
  for name in ("embedding", "patch_tokens"):
    a, b = getattr(whole, name), getattr(groups, name)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())


def test_it_trains_further(encoder):
  """Gradients in half precision reach all weights."""
  pixels = jnp.asarray(np.random.RandomState(0).randn(1, 64, 64, 3), "f")

  def loss(params):
    model = resnet.module(params, TINY)
    return (model(pixels, precision="bfloat16").embedding ** 2).sum()

  gradients = jax.jit(jax.grad(loss))(encoder.params)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.isfinite(leaf).all() and np.any(leaf), path


def test_what_does_not_apply_is_refused(folder, encoder, images):
  for options, message in (
    ({"image_size": 96}, "96 x 96 pixels .* sees 64 x 64 alone.* 2 x 2 places"),
    ({"image_size": (64, 96)}, "64 x 96 pixels were given to a ResNet"),
    ({"preprocess": "clip"}, "224 x 224 pixels were given to a ResNet"),
    ({"layers": (0,)}, "no layers of tokens .* 2 x 2 places before its pool"),
    ({"pooling": "max"}, "pooling cannot be 'max'"),
  ):
    with pytest.raises(ValueError, match=message) as error:
      load_encoder(str(folder), **options)
    assert "\n" not in str(error.value)
  with pytest.raises(ValueError, match="neither blocks .* apply_patches"):
    tokens_of(encoder, images, attention=(0,))
  with pytest.raises(ValueError, match="Unknown precision 'fp8'"):
    resnet.forward(
      encoder.params, np.zeros((1, 64, 64, 3)), config=TINY, precision="fp8"
    )


def test_openais_archive_and_open_clips_file_are_one_encoder(
  as_rn50, folder, tmp_path
):
  scalars = ("input_resolution", "context_length", "vocab_size")
  torch_files.write_torchscript(
    tmp_path / "RN50.pt", tensors() | {name: np.array(7) for name in scalars}
  )
  found = [
    catalog.load("clip_rn50", weights)
    for weights in (tmp_path / "RN50.pt", folder)
  ]
  jax.tree.map(np.testing.assert_array_equal, *(one.params for one in found))
  assert found[0].name == "clip_rn50" and found[0].model.image == TINY


def test_open_clips_file_goes_before_timms_own_beside_it(folder, tmp_path):
  for file in folder.iterdir():
    (tmp_path / file.name).write_bytes(file.read_bytes())
  save_file({"stem.conv1.weight": np.ones(3)}, tmp_path / "model.safetensors")
  (tmp_path / "config.json").write_text('{"architecture": "resnet50_clip"}')
  jax.tree.map(
    np.testing.assert_array_equal,
    catalog.load(str(tmp_path)).params,
    catalog.load(str(folder)).params,
  )


def test_a_transformer_is_no_resnet_and_the_reverse(as_rn50, folder, tmp_path):
  vit = published_layouts.random_tensors(
    published_layouts.openai_clip(goldens.TINY["clip"], TEXT), seed=0
  )
  save_file(vit, tmp_path / "vit.safetensors")
  save_file(tensors(), tmp_path / "resnet.safetensors")
  for name, file, seen in (
    ("clip_rn50", "vit", "48 wide with 2 blocks and patches of 4 pixels."),
    ("clip_vitb32", "resnet", "256 wide with 5 blocks and patches of 32"),
    ("clip_rn101", "resnet", ": clip_rn50?"),
  ):
    with pytest.raises(ValueError, match="tensors do not fit") as error:
      load_encoder(name, weights=tmp_path / f"{file}.safetensors")
    first, second = str(error.value).split("\n")
    assert len(first) < 500 and str(tmp_path) in first
    assert seen in second
  with pytest.raises(ValueError, match=r"is not clip_rn101: it has dim 256"):
    load_encoder("clip_rn101", weights=folder)


def test_the_sizes_of_published_files_are_seen():
  for name, model in FAMILY.models.items():
    config = model.image
    shapes = {"visual.conv1.weight": (config.width // 2, 3, 3, 3)} | {
      f"visual.layer{stage + 1}.{block}.conv1.weight": (config.width, 64, 1, 1)
      for stage, depth in enumerate(config.layers)
      for block in range(depth)
    }
    zeros = {n: np.broadcast_to(np.float32(0), s) for n, s in shapes.items()}
    assert catalog.looks_like(zeros).endswith(f": {name}?")
