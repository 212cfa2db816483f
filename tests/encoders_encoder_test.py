"""Encoders: the two that need no download, and what all of them promise."""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from visual_memory import checkpoints
from visual_memory.data import preprocess as preprocess_lib
from visual_memory.encoders import builders, layers, vit
from visual_memory.encoders.encoder import (
  Encoder,
  list_encoders,
  load_encoder,
  make_encoder,
)
from visual_memory.encoders.families import catalog
from visual_memory.encoders.outputs import unit_rows
from visual_memory.encoders.parts import Parts

TINY_VIT = {"size": 8, "patch": 4, "dim": 16, "depth": 1, "heads": 2}


def _images(count, *, height=8, width=8, seed=0):
  rng = np.random.default_rng(seed)
  shape = (count, height, width, 3)
  return rng.integers(0, 256, shape).astype(np.uint8)


@pytest.fixture(scope="module", params=["pixels", "vit_random"])
def encoder(request):
  options = {"pixels": {"size": 8}, "vit_random": TINY_VIT}
  return load_encoder(request.param, **options[request.param])


def test_pixels_is_normalized_pixels_of_unit_length():
  images = _images(2)
  mean, std = np.array([0.5, 0.25, 0.125]), np.array([0.5, 0.25, 2])
  encoder = load_encoder("pixels", size=8, mean=mean.tolist(), std=std.tolist())
  expected = ((images / 255 - mean) / std).reshape(2, -1)
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  # Two float32 roundings of values up to one.
  np.testing.assert_allclose(encoder.encode(images), expected, atol=3e-7)


def test_pixels_squeezes_any_image_to_3072_values_by_default():
  encoder = load_encoder("pixels")
  assert encoder.dim == 3072
  images = [_images(1, height=50, width=30)[0], _images(1, height=1)[0]]
  assert encoder.encode(images).shape == (2, 3072)


def test_image_of_the_mean_color_is_zeros_not_nan():
  encoder = load_encoder("pixels", size=4, mean=[0, 0, 0])
  black, gray = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 9, np.uint8)
  rows = encoder.encode([black, gray])
  assert not rows[0].any()
  np.testing.assert_allclose(np.linalg.norm(rows[1]), 1, atol=1e-6)


def test_unit_rows_survives_extremes_of_float32():
  rows = jnp.asarray([[1e30, 1e30], [1e-30, 0], [0, 0], [3, -4]], jnp.float32)
  half = np.sqrt(0.5)
  expected = [[half, half], [1, 0], [0, 0], [0.6, -0.8]]
  np.testing.assert_allclose(unit_rows(rows), expected, atol=1e-7)


def test_unit_rows_has_the_gradient_of_a_direction():
  """Ties of the largest entry and a row of zeros have one as well."""
  rows = np.array([[3, -4, 1], [5, 5, 5], [-2, 2, 0], [0, 0, 0]], np.float64)
  weights = np.array([0.5, -1, 2])
  lengths = np.linalg.norm(rows, axis=1, keepdims=True)
  lengths[lengths == 0] = 1
  units = rows / lengths
  expected = (weights - units * (units @ weights)[:, None]) / lengths
  found = jax.grad(lambda rows: (unit_rows(rows) @ weights).sum())(
    jnp.asarray(rows, jnp.float32)
  )
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_unit_rows_leaves_nan_visible():
  rows = [[jnp.nan, 1], [jnp.inf, 1], [3, 4]]
  rows = np.asarray(unit_rows(jnp.asarray(rows, jnp.float32)))
  assert np.isnan(rows[:2]).any(axis=1).all() and not np.isnan(rows[2]).any()


def test_encode_gives_unit_float32_rows(encoder):
  rows = encoder.encode(_images(3))
  assert rows.dtype == np.float32 and rows.shape == (3, encoder.dim)
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
  assert encoder.encode([]).shape == (0, encoder.dim)


def test_encode_agrees_with_forward_on_preprocessed_pixels(encoder):
  images = _images(3)
  pixels = np.stack([encoder.preprocess(image) for image in images])
  rows = jax.jit(Encoder.forward)(encoder, pixels)
  # float32 sums of at most 192 terms in another order.
  np.testing.assert_allclose(encoder.encode(images), rows, atol=1e-6)


def test_rows_do_not_depend_on_their_company(encoder):
  images = _images(32)
  together = encoder.encode(images)
  np.testing.assert_array_equal(together, encoder.encode(images[::-1])[::-1])
  # Another batch size may multiply matrices in another order.
  alone = encoder.encode(images[7:8])
  np.testing.assert_allclose(together[7:8], alone, atol=1e-6)


def test_unit_rows_has_the_same_bits_for_any_number_of_rows():
  rows = np.random.default_rng(0).normal(size=(64, 3000)).astype(np.float32)
  expected = jax.jit(unit_rows)(rows)
  for count in (1, 3, 8, 40):
    actual = jax.jit(unit_rows)(rows[:count])
    np.testing.assert_array_equal(actual, expected[:count])


def test_any_number_of_images_compiles_six_programs():
  traces = []

  def apply(params, pixels):
    traces.append(pixels.shape)
    return builders.flatten(params, pixels)

  encoder = make_encoder("traced", _parts(apply=apply))
  traces.clear()
  for count in (1, 2, 3, 4, 5, 16, 17, 31, 32, 33, 64, 70):
    encoder.encode(_images(count))
  assert len(traces) == 6


def test_encoders_alike_in_shape_share_one_program():
  encoders = [load_encoder("vit_random", seed=s, **TINY_VIT) for s in (0, 1)]
  encoders[0].encode(_images(1))
  with _compilations() as compiled:
    rows = [encoder.encode(_images(1)) for encoder in encoders]
  assert not compiled
  assert not np.allclose(rows[0], rows[1])


def test_params_are_leaves_not_constants():
  encoder = load_encoder("vit_random", **TINY_VIT)
  zeros = jax.tree.map(jnp.zeros_like, encoder)
  assert isinstance(zeros, Encoder) and zeros.fingerprint == encoder.fingerprint
  pixels = jnp.ones((1, 8, 8, 3), jnp.float32)
  assert not np.asarray(jax.jit(Encoder.forward)(zeros, pixels)).any()


def test_fingerprint_tells_everything_that_changes_rows():
  vit = TINY_VIT | {"seed": 0}
  pixels = preprocess_lib.square(8)
  made = {
    "pixels": load_encoder("pixels", size=8),
    "size": load_encoder("pixels", size=16),
    "mean": load_encoder("pixels", size=8, mean=[0, 0, 0]),
    "vit": load_encoder("vit_random", **vit),
    "seed": load_encoder("vit_random", **vit | {"seed": 1}),
    "heads": load_encoder("vit_random", **vit | {"heads": 1}),
    "precision": load_encoder("vit_random", **vit, precision="bfloat16"),
    "preprocess": load_encoder(
      "vit_random",
      **vit,
      preprocess=dataclasses.replace(pixels, interpolation="bilinear"),
    ),
  }
  fingerprints = {encoder.fingerprint for encoder in made.values()}
  assert len(fingerprints) == len(made)
  again = load_encoder("vit_random", **vit, preprocess=pixels)
  assert again.fingerprint == made["vit"].fingerprint


def test_half_precision_stays_near():
  images = _images(4)
  rows, half = (
    load_encoder("vit_random", precision=precision, **TINY_VIT).encode(images)
    for precision in ("float32", "bfloat16")
  )
  assert not np.array_equal(rows, half)
  # bfloat16 keeps 8 bits: relative error 2^-9 per product, one block deep.
  assert np.einsum("nd,nd->n", rows, half).min() > 1 - 1e-3


def test_list_encoders_has_every_published_tower():
  names = set(list_encoders())
  assert {f"dinov2_vit{w}14{r}" for w in "sblg" for r in ("", "_reg")} <= names
  assert {f"dino_vit{w}{p}" for w in "sb" for p in (8, 16)} <= names
  clip = {"clip_vitb32", "clip_vitb16", "clip_vitl14", "clip_vitl14_336"}
  assert clip | {"pixels", "vit_random"} <= names


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("resnet50", {}, "no encoder 'resnet50'.*pixels, vit_random"),
    ("pixels", {"side": 8}, "no option 'side'; it has: size, mean"),
    ("pixels", {"weights": "w.pth"}, "'pixels' has no option 'weights'"),
    ("pixels", {"precision": "bfloat16"}, "no option 'precision'"),
    ("vit_random", {"precision": "fp8"}, "float32, bfloat16"),
    ("pixels", {"preprocess": "dyno"}, "'dyno'; there are: dino, clip"),
    ("vit_random", {"size": 30, "patch": 4}, "30 pixels is not a whole number"),
  ],
)
def test_wrong_request_is_one_clear_error(name, options, message):
  with pytest.raises(ValueError, match=message):
    load_encoder(name, **options)


@pytest.mark.parametrize(
  "image",
  [
    np.zeros((8,), np.uint8),
    np.zeros((8, 8, 4), np.uint8),
    np.zeros((8, 8, 3), np.float32),
    np.zeros((0, 8, 3), np.uint8),
  ],
)
def test_bad_image_is_named(image):
  encoder = load_encoder("pixels", size=8)
  with pytest.raises(ValueError, match="Image 1 "):
    encoder.encode([_images(1)[0], image])


def test_published_encoder_reads_its_weights(tmp_path):
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: 0.02 * rng.standard_normal(leaf.shape, leaf.dtype),
    vit.shapes(catalog.MODELS["dino_vits16"].image),
  )
  checkpoints.save(tmp_path / "weights", params)
  encoder = load_encoder(
    "dino_vits16", weights=tmp_path / "weights", image_size=32
  )
  assert encoder.dim == 384
  assert (encoder.preprocess.resize, encoder.preprocess.crop) == (37, 32)
  image = _images(1, height=50, width=70)
  pixels = jnp.asarray(encoder.preprocess(image[0])[None])
  forward = jax.jit(
    functools.partial(vit.forward, config=catalog.MODELS["dino_vits16"].image)
  )
  outputs = forward(params, pixels)
  # Twelve blocks of float32 products summed in another order.
  np.testing.assert_allclose(
    encoder.encode(image), unit_rows(outputs.embedding), atol=1e-5
  )


@pytest.mark.parametrize(
  ("name", "options", "dim", "resize", "crop", "mean"),
  [
    ("dinov2_vits14", {}, 384, 256, 224, preprocess_lib.IMAGENET_MEAN),
    ("dinov2_vits14", {"image_size": 518}, 384, 592, 518, None),
    ("clip_vitb32", {}, 512, 224, 224, preprocess_lib.CLIP_MEAN),
    ("clip_vitb32", {"preprocess": "dino"}, 512, 256, 224, None),
  ],
)
def test_published_encoder_has_its_authors_preprocessing(
  monkeypatch, name, options, dim, resize, crop, mean
):
  zeros = jax.tree.map(
    lambda leaf: np.zeros(leaf.shape, leaf.dtype),
    vit.shapes(catalog.MODELS[name].image),
  )
  model = catalog.MODELS[name]
  loaded = catalog.Loaded(name=name, model=model, params=zeros)
  monkeypatch.setattr(catalog, "load", lambda name, weights: loaded)
  encoder = load_encoder(name, weights="file", **options)
  assert encoder.dim == dim
  assert (encoder.preprocess.resize, encoder.preprocess.crop) == (resize, crop)
  assert encoder.preprocess.mean == (mean or preprocess_lib.IMAGENET_MEAN)


def test_weights_that_are_neither_here_nor_to_be_had(monkeypatch, tmp_path):
  monkeypatch.setenv("VISUAL_MEMORY_CACHE", str(tmp_path))

  def offline(*args, **kwargs):
    raise OSError("no network")

  monkeypatch.setattr("urllib.request.urlopen", offline)
  with pytest.raises(OSError, match="dinov2_vits14_pretrain.pth.* as weights"):
    load_encoder("dinov2_vits14")
  with pytest.raises(FileNotFoundError, match="no file or directory"):
    load_encoder("dinov2_vits14", weights=tmp_path / "none.pth")


@contextlib.contextmanager
def _compilations():
  """A list of what is compiled inside."""
  compiled = []

  def listen(event, duration_s, **details):
    if event.endswith("backend_compile_duration"):
      compiled.append((details, duration_s))

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield compiled
  jax.monitoring.unregister_event_duration_listener(listen)


def test_compilations_are_seen():
  with _compilations() as compiled:
    jax.jit(lambda x: x * 17 + 4)(jnp.ones(19))
  assert compiled


def _parts(*, apply):
  return Parts(
    params=(),
    apply=apply,
    preprocess=preprocess_lib.square(8),
    weights_fingerprint="test",
  )


# What a stored embedding was made with must not change with the code.
FINGERPRINTS = {
  "pixels": "pixels-9bed98cf2a2821aa09128df0",
  "vit_random": "vit_random-0fc1116ada1fcb68a68e63ff",
  "procedural_patches": "procedural_patches-e8a9e428a30a0f2a8464687e",
  "procedural_vit": "procedural_vit-2a4a1e0ae3131343c593e0c8",
}
NAMES = """
pixels vit_random procedural procedural_patches procedural_vit
dinov2_vits14 dinov2_vitb14 dinov2_vitl14 dinov2_vitg14
dinov2_vits14_reg dinov2_vitb14_reg dinov2_vitl14_reg dinov2_vitg14_reg
dino_vits8 dino_vits16 dino_vitb8 dino_vitb16
clip_vitb32 clip_vitb16 clip_vitl14 clip_vitl14_336
"""


@pytest.mark.parametrize("cut", [True, False])
def test_initial_weights_are_those_of_jax(cut):
  made = jax.nn.initializers
  theirs = (made.truncated_normal if cut else made.normal)(0.03)
  key = jax.random.key(7)
  for shape in ((5,), (0, 3), (4096,), (7, 600)):
    ours = layers.drawn(key, *shape, deviation=0.03, cut=cut)
    np.testing.assert_array_equal(ours, theirs(key, shape))
    traced = jax.eval_shape(
      lambda key, shape=shape: layers.drawn(
        key, *shape, deviation=0.03, cut=cut
      ),
      key,
    )
    assert ours.dtype == traced.dtype and ours.shape == traced.shape == shape


def test_names_stay_and_fingerprints_do_not_change():
  names = NAMES.split()
  assert list_encoders()[: len(names)] == tuple(names)
  for name, fingerprint in FINGERPRINTS.items():
    assert load_encoder(name).fingerprint == fingerprint
