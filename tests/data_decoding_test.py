"""Every kind of image file, against the rule that decoding.py states."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from visual_memory.data.decoding import UnreadableImage, decode_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
GRAY = RGB[..., 0]


def encoded(image, format="png", **options):
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  file = io.BytesIO()
  image.save(file, format, **options)
  return file.getvalue()


def decode(data, **options):
  return decode_image(data, id="x.png", **options)


def repeated(gray):
  return np.repeat(gray[:, :, None], 3, axis=2)


@pytest.mark.parametrize("format", ["png", "bmp", "tiff", "ppm"])
def test_rgb_is_itself(format):
  image = decode(encoded(RGB, format))
  assert image.dtype == np.uint8
  np.testing.assert_array_equal(image, RGB)


def test_grayscale_and_bilevel_fill_three_channels():
  np.testing.assert_array_equal(decode(encoded(GRAY)), repeated(GRAY))
  bilevel = GRAY > 128
  np.testing.assert_array_equal(
    decode(encoded(Image.fromarray(bilevel))),
    repeated(np.where(bilevel, 255, 0)),
  )


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_sixteen_bits_keep_the_high_byte(format):
  values = RNG.integers(0, 65536, (5, 7)).astype(np.uint16)
  image = decode(encoded(values, format))
  np.testing.assert_array_equal(image, repeated(values // 256))


def test_32_bit_integers_are_16_bit_values_or_an_error():
  values = RNG.integers(0, 65536, (5, 7)).astype(np.int32)
  image = decode(encoded(values, "tiff"))
  np.testing.assert_array_equal(image, repeated(values // 256))
  with pytest.raises(UnreadableImage, match="x.png.*beyond 16 bits"):
    decode(encoded(values * 4, "tiff"))
  with pytest.raises(UnreadableImage, match="floats"):
    decode(encoded(values.astype(np.float32), "tiff"))


def test_alpha_is_composed_over_white():
  alpha = RNG.integers(0, 256, (5, 7, 1))
  rgba = np.concatenate([RGB, alpha], -1).astype(np.uint8)
  expected = (RGB * alpha + 255.0 * (255 - alpha)) / 255
  np.testing.assert_allclose(decode(encoded(rgba)), expected, atol=1)
  gray_alpha = np.concatenate([GRAY[..., None], alpha], -1).astype(np.uint8)
  expected = (repeated(GRAY) * alpha + 255.0 * (255 - alpha)) / 255
  np.testing.assert_allclose(decode(encoded(gray_alpha)), expected, atol=1)


def test_palettes_with_and_without_transparency():
  image = Image.fromarray(RGB).quantize(8)
  expected = np.asarray(image.convert("RGB"))
  np.testing.assert_array_equal(decode(encoded(image, "gif")), expected)
  np.testing.assert_array_equal(decode(encoded(image)), expected)
  clear = np.asarray(image) == 3
  np.testing.assert_array_equal(
    decode(encoded(image, transparency=3)),
    np.where(clear[..., None], 255, expected),
  )


def test_cmyk_jpeg():
  image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red ink on paper
  red = decode(encoded(image, "jpeg", quality=95))
  np.testing.assert_allclose(red, np.full((8, 8, 3), (255, 0, 0)), atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  data = encoded(RGB, "png", exif=exif)
  # The stored picture, turned as the Exif standard's table says.
  upright = {
    1: RGB,
    2: RGB[:, ::-1],
    3: RGB[::-1, ::-1],
    4: RGB[::-1],
    5: RGB.transpose(1, 0, 2),
    6: RGB.transpose(1, 0, 2)[:, ::-1],
    7: RGB.transpose(1, 0, 2)[::-1, ::-1],
    8: RGB.transpose(1, 0, 2)[::-1],
  }[orientation]
  np.testing.assert_array_equal(decode(data), upright)
  np.testing.assert_array_equal(decode(data, orient=False), RGB)
  with Image.open(io.BytesIO(data)) as image:
    turned = np.asarray(ImageOps.exif_transpose(image))
  np.testing.assert_array_equal(upright, turned)


def test_one_pixel_and_many_frames():
  np.testing.assert_array_equal(decode(encoded(RGB[:1, :1])), RGB[:1, :1])
  frames = [Image.fromarray(GRAY + shade) for shade in (0, 1)]
  data = encoded(frames[0], "tiff", save_all=True, append_images=frames[1:])
  np.testing.assert_array_equal(decode(data), repeated(GRAY))


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"not an image",
    encoded(np.tile(RGB, (20, 20, 1)), "jpeg")[:-900],
    encoded(RGB)[:40],
    encoded(RGB, "gif")[:30],
  ],
  ids=["empty", "text", "cut jpeg", "cut png", "cut gif"],
)
def test_damage_is_named(data):
  with pytest.raises(UnreadableImage, match="'x.png' cannot be read: ") as info:
    decode(data)
  assert info.value.id == "x.png"
  assert info.value.reason


def test_bombs_are_refused(monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
  with pytest.raises(UnreadableImage, match="exceeds limit"):
    decode(encoded(RGB))
