"""Crops, colors and views against Pillow, colorsys, SciPy and themselves."""

import colorsys
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from visual_memory.data import crops
from visual_memory.pretraining import colors, views

SETTINGS = views.ViewSettings(
  global_size=16, local_size=8, num_local=2, global_scale=(0.4, 1.0),
  local_scale=(0.05, 0.4), flip=0.5, jitter=0.8, strengths=(0.4, 0.4, 0.2, 0.1),
  gray=0.2, blur=(1.0, 0.1, 0.5), blur_radius=(0.1, 2.0), solarize=0.2,
)  # fmt: skip
# Pillow rounds to 8 bits once in each direction of a resize, and we do not.
ONE_LEVEL = 1.01 / 255


# One program each, not one for every operation.
crop_of_16 = jax.jit(
  functools.partial(crops.resized_crop, size=16, kernel="cubic", rounded=False)
)
blur = jax.jit(functools.partial(colors.blur, most=2.0))
hue = jax.jit(colors.hue)


@pytest.fixture(scope="module")
def image():
  # Gray enough that a bicubic kernel does not overshoot: Pillow clips between
  # the two directions of a resize.
  random = np.random.default_rng(0)
  return random.integers(90, 166, (24, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def images():
  random = np.random.default_rng(1)
  return random.integers(0, 256, (8, 24, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("box", [(0, 0, 24, 24), (3, 5, 20, 13), (9, 2, 5, 7)])
def test_a_crop_is_pillows(image, box):
  top, left, height, width = box
  crop = Image.fromarray(image[top : top + height, left : left + width])
  expected = np.asarray(crop.resize((16, 16), Image.Resampling.BICUBIC)) / 255
  got = crop_of_16(image / np.float32(255), np.array(box))
  np.testing.assert_allclose(np.clip(got, 0, 1), expected, atol=2 * ONE_LEVEL)


def test_boxes_lie_inside_and_have_the_wanted_areas():
  keys = jax.random.split(jax.random.key(0), 4000)
  draw = jax.jit(
    jax.vmap(
      lambda k: crops.random_box(k, 64, 64, scale=(0.2, 0.9), ratio=views.RATIO)
    )
  )
  top, left, height, width = np.asarray(draw(keys)).T
  assert (top >= 0).all() and (top + height <= 64).all()
  assert (left >= 0).all() and (left + width <= 64).all()
  area, aspect = height * width / 64**2, width / height
  assert 0.18 < area.min() < 0.22 and 0.8 < area.max() < 0.92
  assert aspect.min() > 0.7 and aspect.max() < 1.43
  # Every place is reached: corners too.
  assert (top == 0).any() and (top + height == 64).any()


def test_the_boxes_of_a_key_stay_what_they_are():
  keys = jax.random.split(jax.random.key(0), 4)
  draw = lambda key, height, width: crops.random_box(
    key, height, width, scale=(0.2, 0.9), ratio=views.RATIO
  )
  expected = [[1, 8, 17, 14], [3, 6, 21, 17], [10, 2, 11, 13], [4, 1, 20, 21]]
  fixed = jax.jit(jax.vmap(lambda key: draw(key, 24, 24)))
  assert fixed(keys).tolist() == expected
  sides = np.full(4, 24)  # Traced sides give the same.
  assert jax.jit(jax.vmap(draw))(keys, sides, sides).tolist() == expected


def test_an_unknown_kernel_is_named(image):
  with pytest.raises(ValueError, match="'lanczos'; known: cubic, triangle"):
    crops.resized_crop(
      image, jnp.array([0, 0, 24, 24]), size=8, kernel="lanczos", rounded=True
    )


def as_float(image):
  return image.astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_color_changes_are_pillows(image, factor):
  # The mean gray of Pillow's contrast is rounded to a whole level, its gray
  # values are too.
  picture = Image.fromarray(image)
  for ours, theirs in (
    (colors.brightness, ImageEnhance.Brightness),
    (colors.contrast, ImageEnhance.Contrast),
    (colors.saturation, ImageEnhance.Color),
  ):
    expected = np.asarray(theirs(picture).enhance(factor)) / 255
    got = jax.jit(ours)(as_float(image), np.float32(factor))
    np.testing.assert_allclose(got, expected, atol=2 * ONE_LEVEL)


def test_gray_and_solarization_are_pillows(image):
  picture = Image.fromarray(image)
  expected = np.asarray(ImageOps.grayscale(picture)) / 255
  np.testing.assert_allclose(
    colors.gray(as_float(image))[..., 0], expected, atol=ONE_LEVEL
  )
  expected = np.asarray(ImageOps.solarize(picture, threshold=128)) / 255
  np.testing.assert_allclose(
    colors.solarize(as_float(image)), expected, atol=1e-6
  )


@pytest.mark.parametrize("turn", [-0.1, 0.0, 0.3])
def test_hue_is_that_of_colorsys(image, turn):
  pixels = [*(image.reshape(-1, 3) / 255), (0.5, 0.5, 0.5), (0, 0, 0)]
  expected = []
  for pixel in pixels:
    h, s, v = colorsys.rgb_to_hsv(*pixel)
    expected.append(colorsys.hsv_to_rgb((h + turn) % 1, s, v))
  got = hue(np.array(pixels, np.float32)[None], np.float32(turn))
  np.testing.assert_allclose(got[0], expected, atol=1e-5)


@pytest.mark.parametrize("deviation", [0.4, 2.0])
def test_blur_is_scipys(image, deviation):
  ndimage = pytest.importorskip("scipy.ndimage")
  expected = ndimage.gaussian_filter(
    image / 255.0, (deviation, deviation, 0), mode="nearest", radius=6
  )
  got = blur(as_float(image), np.float32(deviation))
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_jitter_uses_every_order_and_stays_in_range(image):
  keys = jax.random.split(jax.random.key(0), 16)
  jitter = lambda strengths: jax.jit(
    jax.vmap(functools.partial(colors.jitter, strengths=strengths), (0, None))
  )
  got = jitter((0.4, 0.4, 0.2, 0.1))(keys, as_float(image))
  assert got.min() >= 0 and got.max() <= 1
  assert len({x.tobytes() for x in np.asarray(got)}) == 16
  (same,) = jitter((0.0,) * 4)(keys[:1], as_float(image))
  np.testing.assert_allclose(same, as_float(image), atol=1e-5)


@pytest.fixture(scope="module")
def make():
  return jax.jit(views.make_views, static_argnames="settings")


def test_views_have_their_shapes_and_differ(make, images):
  made = make(jax.random.split(jax.random.key(0), 8), images, settings=SETTINGS)
  assert made.globals.shape == (2, 8, 16, 16, 3)
  assert made.locals.shape == (2, 8, 8, 8, 3)
  assert made.globals.dtype == jnp.float32
  assert not np.allclose(made.globals[0], made.globals[1])
  assert not np.allclose(made.locals[0], made.locals[1])
  assert np.isfinite(made.globals).all()


def test_a_view_depends_on_its_own_key_alone(make, images):
  keys = jax.random.split(jax.random.key(0), 8)
  whole = make(keys, images, settings=SETTINGS)
  swapped = make(keys[::-1], images[::-1], settings=SETTINGS)
  np.testing.assert_array_equal(whole.globals, swapped.globals[:, ::-1])
  np.testing.assert_array_equal(whole.locals, swapped.locals[:, ::-1])
  # Another program, which may round a pixel twice and two ways: no more.
  for row in range(8):
    alone = make(keys[row : row + 1], images[row : row + 1], settings=SETTINGS)
    same = whole.globals[:, row : row + 1]
    np.testing.assert_allclose(alone.globals, same, atol=1e-4)


def test_without_changes_a_view_is_the_normalized_image(make, images):
  plain = dataclasses.replace(
    SETTINGS, global_size=24, num_local=0, global_scale=(1.0, 1.0), flip=0.0,
    jitter=0.0, gray=0.0, blur=(0.0, 0.0, 0.0), solarize=0.0,
  )  # fmt: skip
  keys = jax.random.split(jax.random.key(0), 8)
  made = make(keys, images, settings=plain)
  assert made.locals is None
  mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  expected = (images / 255 - np.array(mean)) / np.array(std)
  # An aspect other than 1 would not fit: the whole image is taken.
  np.testing.assert_allclose(made.globals[0], expected, atol=1e-4)
