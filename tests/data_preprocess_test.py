"""Preprocessing against Pillow, jax.image and formulas written out again."""

import dataclasses
import io
import math
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

from visual_memory.data import resampling
from visual_memory.data.preprocess import (
  CLIP_MEAN,
  CLIP_STD,
  IMAGENET_MEAN,
  IMAGENET_STD,
  MAX_ASPECT,
  PRESETS,
  Preprocess,
  square,
)
from visual_memory.data.sources import open_source

RNG = np.random.default_rng(0)


def noise(height, width):
  return RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)


def pillow_reference(image, resize, crop):
  """torchvision's Resize + CenterCrop on a Pillow image, written out."""
  width, height = image.size
  if width <= height:
    size = (resize, int(resize * height / width))
  else:
    size = (int(resize * width / height), resize)
  image = image.resize(size, Image.BICUBIC)
  left = int(round((size[0] - crop) / 2.0))
  top = int(round((size[1] - crop) / 2.0))
  return np.asarray(image.crop((left, top, left + crop, top + crop)))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_tall_pictures_are_resized_in_one_order_by_any_pillow(interpolation):
  """Rows first, by 22-bit weights: written out, with Pillow's rounding."""

  def line(samples, size):  # [N, W, 3] -> [N, size, 3]
    first, weights = resampling.pillow_weights(
      samples.shape[1], size, slice(None), interpolation=interpolation
    )
    at = first[:, None] + np.arange(weights.shape[1])
    near = samples[:, np.minimum(at, samples.shape[1] - 1)].astype(np.int64)
    total = (near * weights[:, :, None]).sum(axis=2) + (1 << 21)
    return np.clip(total >> 22, 0, 255).astype(np.uint8)

  for height, width in ((300, 40), (90, 80), (40, 300), (61, 3)):
    image = noise(height, width)
    columns = line(line(image, 32).swapaxes(0, 1), 24).swapaxes(0, 1)
    fit = Preprocess(
      resize=(24, 32), crop=(24, 20), long_side="square",
      interpolation=interpolation,
    )  # fmt: skip
    np.testing.assert_array_equal(fit.resize_and_crop(image), columns[:, 6:26])


@pytest.mark.parametrize("name, resize", [("dino", 256), ("clip", 224)])
def test_equal_to_pillow_on_photographs(data_file, name, resize):
  path = data_file("imagenet_sample_200.zip")
  source = open_source("folder", path=path, unlabeled=True)
  assert len(source) == 200
  with zipfile.ZipFile(path) as archive:
    for row in range(len(source)):
      data = archive.read(f"imagenet_sample/{source.ids[row]}")
      with Image.open(io.BytesIO(data)) as image:
        expected = pillow_reference(image.convert("RGB"), resize, 224)
      actual = PRESETS[name].resize_and_crop(source[row].image)
      assert actual.dtype == np.uint8
      np.testing.assert_array_equal(actual, expected, err_msg=source.ids[row])


@pytest.mark.parametrize("name", ["dino", "clip"])
@pytest.mark.parametrize(
  "shape", [(300, 401), (401, 300), (257, 256), (20, 33), (1, 1), (1, 40)]
)
def test_equal_to_pillow_on_every_shape(name, shape):
  image = noise(*shape)
  preprocess = PRESETS[name]
  np.testing.assert_array_equal(
    preprocess.resize_and_crop(image),
    pillow_reference(Image.fromarray(image), preprocess.resize, 224),
  )


@pytest.mark.parametrize(
  "name, mean, std",
  [
    ("dino", IMAGENET_MEAN, IMAGENET_STD),
    ("clip", CLIP_MEAN, CLIP_STD),
    ("as_published_dino", IMAGENET_MEAN, IMAGENET_STD),
    ("as_published_clip", CLIP_MEAN, CLIP_STD),
  ],
)
def test_normalization(name, mean, std):
  preprocess = PRESETS[name]
  image = noise(230, 250)
  pixels = preprocess.resize_and_crop(image)
  actual = preprocess(image)
  assert pixels.dtype == preprocess.pixel_dtype
  assert actual.dtype == np.float32
  assert actual.shape == (preprocess.size,) * 2 + (3,)
  expected = (pixels.astype(np.float64) / 255 - mean) / std
  # Values up to 5, three roundings of float32 (relative 6e-8 each).
  np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_published_geometry():
  """Both sides round half to even and the offset is floored; torchvision
  truncates and rounds. 256 * 401 / 300 = 342.19; 256 * 301 / 200 = 385.28;
  224 * 75 / 32 = 525 exactly; 256 * 2.501953125 = 640.5."""
  dino, published = PRESETS["dino"], PRESETS["as_published_dino"]
  assert dino.resized_shape(300, 401) == (256, 342)
  assert published.resized_shape(401, 300) == (342, 256)
  assert dino.resized_shape(512, 1281) == (256, 640)
  assert published.resized_shape(512, 1281) == (256, 640)  # 640.5, to even
  assert dino.resized_shape(512, 1283) == (256, 641)
  assert published.resized_shape(512, 1283) == (256, 642)  # 641.5, to even
  assert dino.resized_shape(100, 133) == (256, 340)
  assert published.resized_shape(100, 133) == (256, 340)  # 340.48
  assert published.resized_shape(300, 400) == (256, 341)  # 341.33
  assert published.resized_shape(500, 400) == (320, 256)
  # A margin of 3: offset 2 (1.5 to even) against 1.
  ramp = np.zeros((224, 227, 3), np.uint8)
  ramp[:] = np.arange(227)[None, :, None]
  assert PRESETS["clip"].resize_and_crop(ramp)[0, 0, 0] == 2
  assert PRESETS["as_published_clip"].resize_and_crop(ramp)[0, 0, 0] == 1


@pytest.mark.parametrize("shape", [(300, 401), (521, 260), (31, 45), (1, 1)])
def test_antialiased_float_resize_equals_jax_image(shape):
  image = noise(*shape)
  preprocess = PRESETS["as_published_dino"]
  height, width = preprocess.resized_shape(*shape)
  full = jax.image.resize(
    image.astype(np.float32),
    (height, width, 3),
    "cubic",
    antialias=True,
    precision=jax.lax.Precision.HIGHEST,
  )
  top, left = (height - 224) // 2, (width - 224) // 2
  expected = full[top : top + 224, left : left + 224]
  actual = preprocess.resize_and_crop(image)
  # Sample positions near 500 are rounded to 3e-5 in float32, differently in
  # jax: that is at most 255 * 2.4e-5 in each of two passes.
  np.testing.assert_allclose(actual, expected, atol=0.015)
  if min(shape) > 1:
    assert actual.min() < 0 and actual.max() > 255  # overshoot is kept


def four_taps(line, size_out):
  """TensorFlow's half-pixel bicubic without antialiasing, one sample a time."""
  result = []
  for out in range(size_out):
    where = (out + 0.5) * len(line) / size_out - 0.5
    whole = math.floor(where)
    offset = round((where - whole) * 1024) / 1024
    total, norm = 0.0, 0.0
    for tap in range(whole - 1, whole + 3):
      if 0 <= tap < len(line):
        x = abs(tap - whole - offset)
        if x <= 1:
          weight = 1.5 * x**3 - 2.5 * x**2 + 1
        else:
          weight = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        total += weight * line[tap]
        norm += weight
    result.append(total / norm)
  return np.array(result)


@pytest.mark.parametrize("size_in, size_out", [(9, 20), (50, 16), (1, 5)])
def test_float_resize_without_antialiasing_reads_four_pixels(size_in, size_out):
  line = RNG.integers(0, 256, size_in).astype(np.uint8)
  expected = four_taps(line.astype(float), size_out)
  weights = resampling.cubic_weights(
    size_in, size_out, slice(None), antialias=False
  )
  np.testing.assert_allclose(weights @ line, expected, atol=1e-3)
  image = np.repeat(np.repeat(line[None, :, None], 3, 2), 7, 0)
  actual = resampling.resize_bicubic(
    image,
    rows=(7, slice(2, 5)),
    columns=(size_out, slice(1, size_out)),
    antialias=False,
  )
  assert actual.shape == (3, size_out - 1, 3)
  for channel in range(3):
    np.testing.assert_allclose(actual[1, :, channel], expected[1:], atol=1e-3)


def test_a_squared_image_ignores_its_ratio():
  image = noise(30, 50)
  expected = Image.fromarray(image).resize((32, 32), Image.BICUBIC)
  np.testing.assert_array_equal(square(32).resize_and_crop(image), expected)
  same = noise(32, 32)
  np.testing.assert_array_equal(square(32).resize_and_crop(same), same)


def test_very_long_images_are_cut_first():
  image = noise(2, 3 * 2 * MAX_ASPECT)
  cut = image[:, 2 * MAX_ASPECT : 4 * MAX_ASPECT]
  small = Preprocess(resize=16, crop=16)
  np.testing.assert_array_equal(
    small.resize_and_crop(image), small.resize_and_crop(cut)
  )
  for name, preprocess in PRESETS.items():
    tall = preprocess(noise(5 * MAX_ASPECT, 1))
    assert tall.shape == (224, 224, 3), name


def test_settings():
  small = dataclasses.replace(PRESETS["clip"], resize=64, crop=48)
  assert small(noise(100, 70)).shape == (48, 48, 3)
  assert small.to_dict()["mean"] == CLIP_MEAN
  assert small.to_dict() != PRESETS["clip"].to_dict()
  for wrong, message in [
    (dict(crop=0), "crop of 0"),
    (dict(crop=65), "crop must be between 1 and resize"),
    (dict(antialias=False), "antialias cannot be False.*'pil'"),
    (dict(interpolation="cubic"), "bilinear.*bicubic.*lanczos"),
    (dict(backend="tf", interpolation="lanczos"), "it can be: 'bicubic'"),
    (dict(std=(1.0, 1.0, 0.0)), "std positive"),
  ]:
    with pytest.raises(ValueError, match=message):
      Preprocess(**dict(resize=64, crop=48) | wrong)


@pytest.mark.parametrize("shape", [(30, 41), (1, 450), (450, 1), (24, 24)])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_an_image_of_pillows_is_resized_like_its_pixels(name, shape):
  image = noise(*shape)
  small = dataclasses.replace(PRESETS[name], resize=24, crop=20)
  np.testing.assert_array_equal(
    small.resize_and_crop(Image.fromarray(image)), small.resize_and_crop(image)
  )
