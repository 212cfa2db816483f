"""Encoder files, exported backbones and dictionaries, and their parts."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pretraining_process
import pytest
from flax import nnx

from visual_memory.encoders import encoder_files, settings, vit
from visual_memory.encoders.encoder import list_encoders, load_encoder
from visual_memory.encoders.layers import dot
from visual_memory.encoders.outputs import POOLINGS
from visual_memory.encoders.patch_dictionary import PatchDictionary
from visual_memory.encoders.stem import ConvStem
from visual_memory.encoders.transformer import Block
from visual_memory.pretraining import dictionary, export, knn, network

HALF = 2.0**-11
"""The relative error of rounding to float16."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  """A tiny random teacher: recipe, params, path of its encoder file."""
  recipe, _ = pretraining_process.make()
  params = jax.device_get(jax.jit(lambda: network.init(recipe))()["backbone"])
  path = export.export_backbone(
    recipe,
    params,
    tmp_path_factory.mktemp("export") / "tiny",
    training={"steps": 3},
  )
  return recipe, params, path


@pytest.fixture(scope="module")
def images():
  random = np.random.default_rng(0)
  return random.integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)


def test_an_exported_backbone_is_an_encoder(exported, images):
  recipe, params, path = exported
  encoder = load_encoder("procedural", weights=path)
  direct = knn.backbone_encoder(recipe, params)
  assert encoder.dim == recipe.backbone.dim
  assert encoder.preprocess == direct.preprocess
  found, expected = encoder.encode(images), direct.encode(images)
  # Two blocks of products of weights rounded to half precision.
  np.testing.assert_allclose(found, expected, atol=20 * HALF)
  assert encoder.fingerprint.startswith("procedural-")
  again = load_encoder("procedural", weights=str(path).removesuffix(".npz"))
  assert again.fingerprint == encoder.fingerprint
  half = load_encoder("procedural", weights=path, precision="bfloat16")
  assert half.fingerprint != encoder.fingerprint
  assert np.min(np.sum(half.encode(images) * found, axis=1)) > 0.99


def test_the_card_says_where_the_weights_come_from(exported):
  recipe, _, path = exported
  card = json.loads(path.with_suffix(".json").read_text())
  assert card["kind"] == "vit" and card["training"] == {"steps": 3}
  assert card["recipe"]["optimizer"]["clip"] == recipe.optimizer.clip
  assert card["num_bytes"] == path.stat().st_size
  assert "licence" in card


def test_pooling_is_part_of_the_fingerprint(exported, images, tmp_path):
  recipe, params, path = exported
  one = load_encoder("procedural", weights=path)
  card = json.loads(path.with_suffix(".json").read_text())
  other = encoder_files.write(
    tmp_path / "b", params, {**card, "pooling": "class_and_mean"}
  )
  both = load_encoder("procedural", weights=other)
  assert both.dim == 2 * one.dim and both.fingerprint != one.fingerprint


def test_damaged_and_missing_files_are_named(exported, tmp_path):
  _, _, path = exported
  with pytest.raises(ValueError, match="pass weights=PATH"):
    load_encoder("procedural")
  with pytest.raises(FileNotFoundError, match="absent.npz"):
    load_encoder("procedural", weights=tmp_path / "absent")
  bad = tmp_path / "bad.npz"
  bad.write_bytes(path.read_bytes()[:-1])
  text = path.with_suffix(".json").read_text()
  bad.with_suffix(".json").write_text(text)
  with pytest.raises(ValueError, match="damaged"):
    load_encoder("procedural", weights=bad)
  bad.with_suffix(".json").write_text("{}")
  with pytest.raises(ValueError, match="lacks kind"):
    load_encoder("procedural", weights=bad)
  with pytest.raises(ValueError, match="cannot hold"):
    encoder_files.write(tmp_path / "c", {"a": np.float32([1e6])}, {})


def test_a_foreign_architecture_is_one_error(exported, tmp_path):
  _, params, path = exported
  card = json.loads(path.with_suffix(".json").read_text())
  for change, message in (
    ({"kind": "mixer"}, "kind 'mixer'"),
    ({"config": {**card["config"], "rotary": True}}, "no setting rotary"),
  ):
    other = encoder_files.write(tmp_path / "d", params, {**card, **change})
    with pytest.raises(ValueError, match=message):
      load_encoder("procedural", weights=other)


SHIPPED = encoder_files.shipped_names()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_encoders_load_by_name_and_fit(name, images):
  path = encoder_files.SHIPPED / f"{name}.npz"
  assert path.stat().st_size < encoder_files.MAX_BYTES
  assert name.startswith("procedural_") and name in list_encoders()
  encoder = load_encoder(name)
  rows = encoder.encode(images)
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
  card = json.loads(path.with_suffix(".json").read_text())
  assert {"training", "recipe", "licence"} <= set(card)
  assert "reproduce" in card["training"]


SETTINGS = dictionary.DictionarySettings(
  size=12, patch=3, num_words=10, grid=2, threshold=0.25, dim=8,
  num_patches=400, rounds=3, patch_ridge=0.1, ridge=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def pictures():
  random = np.random.default_rng(1)
  coarse = random.integers(0, 256, (60, 6, 6, 3), dtype=np.uint8)
  return coarse.repeat(2, axis=1).repeat(2, axis=2)


@pytest.fixture(scope="module")
def learned(pictures):
  return dictionary.learn(pictures, SETTINGS, key=jax.random.key(0))


def numpy_responses(params, image):
  """One image, patch by patch, in float64."""
  cells = np.zeros((2, 2, 10))
  counts = np.zeros((2, 2, 1))
  for top in range(10):
    for left in range(10):
      patch = image[top : top + 3, left : left + 3].ravel() / 255.0
      patch = (patch - patch.mean()) / np.sqrt(patch.var() + 10 / 255**2)
      scores = patch @ params["kernel"].astype(np.float64) - params["bias"]
      cells[top // 5, left // 5] += np.maximum(scores - 0.25, 0)
      counts[top // 5, left // 5] += 1
  return np.sqrt(cells / counts).ravel()


def test_responses_equal_a_loop_over_patches(learned, pictures):
  pixels = pictures[:2] / np.float32(255)
  got = jax.jit(SETTINGS.apply.responses)(learned, pixels)
  for row, image in zip(got, pictures[:2], strict=True):
    # The square root magnifies rounding near zero.
    np.testing.assert_allclose(row, numpy_responses(learned, image), atol=2e-3)


def test_embeddings_are_whitened(learned, pictures):
  apply = SETTINGS.apply
  pixels = pictures / np.float32(255)
  responses = np.asarray(jax.jit(apply.responses)(learned, pixels), np.float64)
  values = (responses - learned["mean"]) @ learned["projection"]
  found = jax.jit(apply.__call__)(learned, pixels)
  np.testing.assert_allclose(found, values, atol=1e-4)
  covariance = values.T @ values / len(values)
  off = covariance - np.diag(np.diag(covariance))
  assert np.abs(off).max() < 1e-3
  # The axes are those of NumPy's decomposition, with their variances.
  exact = np.linalg.eigvalsh(np.cov(responses.T, bias=True))[::-1]
  expected = exact[:8] / (exact[:8] + SETTINGS.ridge * exact.mean())
  np.testing.assert_allclose(np.diag(covariance), expected, rtol=1e-3)


def test_learning_is_deterministic_and_words_improve(learned, pictures):
  again = dictionary.learn(pictures, SETTINGS, key=jax.random.key(0))
  for name, leaf in learned.items():
    np.testing.assert_array_equal(leaf, again[name])
  random = np.random.default_rng(0)
  white = random.normal(size=(200, 5)).astype(np.float32)
  words = white[:7] / np.linalg.norm(white[:7], axis=1, keepdims=True)
  before = np.max(white @ words.T, axis=1)
  better = np.asarray(dictionary._better_words(white, words))
  assert np.mean(np.max(white @ better.T, axis=1)) > np.mean(before)


def test_a_dictionary_becomes_an_encoder(learned, pictures, tmp_path):
  path = dictionary.export_dictionary(
    learned, SETTINGS, tmp_path / "words", training={}
  )
  encoder = load_encoder("procedural", weights=path)
  assert encoder.dim == 8 and isinstance(encoder.apply, PatchDictionary)
  apply = jax.jit(SETTINGS.apply.__call__)
  direct = np.asarray(apply(learned, pictures[:3] / np.float32(255)))
  direct = direct / np.linalg.norm(direct, axis=1, keepdims=True)
  cosines = np.sum(encoder.encode(pictures[:3]) * direct, axis=1)
  assert cosines.min() > 1 - 1e-3
  with pytest.raises(ValueError, match="float32 alone"):
    load_encoder("procedural", weights=path, precision="bfloat16")


def test_dictionaries_of_the_wrong_pictures_are_refused(pictures):
  with pytest.raises(ValueError, match="the settings say 12"):
    dictionary.learn(pictures[:, :8, :8], SETTINGS, key=jax.random.key(0))
  with pytest.raises(ValueError, match="more images"):
    dictionary.learn(pictures[:8], SETTINGS, key=jax.random.key(0))


def test_the_stem_is_a_strided_convolution():
  stem = ConvStem((4,), eps=1e-6, rngs=nnx.Rngs(0))
  pixels = np.random.default_rng(0).normal(size=(2, 6, 6, 3))
  pixels = pixels.astype(np.float32)

  @jax.jit
  def convolved(pixels):
    kernel = stem.convs[0].kernel[...].reshape(3, 3, 3, 4)
    expected = jax.lax.conv_general_dilated(
      pixels, kernel, (2, 2), [(1, 1), (1, 1)],
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    return jax.nn.gelu(stem.norms[0](expected), approximate=False)

  expected = convolved(pixels)
  got = jax.jit(functools.partial(stem, precision="float32"))(pixels)
  assert got.shape == (2, 3, 3, 4)
  np.testing.assert_allclose(got, expected, atol=1e-5)
  with pytest.raises(ValueError, match="no multiple"):
    settings.vit("vit_ti", image_size=12, patch_size=6, stem=(4, 4))


def test_dropped_branches_leave_the_tokens_alone():
  block = Block(8, num_heads=2, mlp_dim=16, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
  plain, _ = jax.jit(block.__call__)(x)
  run = jax.jit(lambda x, scales: block(x, branch_scales=scales))
  ones, _ = run(x, np.ones((2, 2), np.float32))
  np.testing.assert_array_equal(ones, plain)
  dropped, _ = run(x, np.array([[0, 1], [0, 1]], np.float32))
  np.testing.assert_array_equal(dropped[0], x[0])
  np.testing.assert_array_equal(dropped[1], plain[1])


def test_gradients_in_half_precision_are_those_of_float32():
  random = np.random.default_rng(0)
  x, y = (random.normal(size=s).astype(np.float32) for s in ((4, 6), (6, 5)))
  dimensions = (((1,), (0,)), ((), ()))

  def loss(x, y, precision):
    return jnp.sum(jnp.sin(dot(x, y, dimensions, precision=precision)))

  gradient = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
  half, full = (gradient(x, y, name) for name in ("bfloat16", "float32"))
  for a, b in zip(half, full, strict=True):
    assert a.dtype == jnp.float32
    # Three roundings to 8 bits, in sums of 5 and 4 terms of about one.
    np.testing.assert_allclose(a, b, atol=5 * 3 * 2.0**-8)


def test_poolings_have_the_shapes_that_heads_expect(exported):
  recipe, params, _ = exported

  def pooled(params, pixels):
    outputs = vit.forward(params, pixels, config=recipe.backbone)
    return {name: pool(outputs) for name, pool in POOLINGS.items()}

  made = jax.eval_shape(pooled, params, jnp.zeros((2, 16, 16, 3)))
  dims = {name: rows.shape for name, rows in made.items()}
  d = recipe.backbone.dim
  assert dims == {
    "class": (2, d), "mean": (2, d), "class_and_mean": (2, 2 * d)
  }  # fmt: skip
