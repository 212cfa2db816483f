"""Every kind of image file, against the rule that decoding.py states."""

import io
import struct
import sys

import numpy as np
import processes
import pytest
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin

from visual_memory.data import decoding
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


def profiled(image, profile):
  return encoded(image, "png", icc_profile=profile)


def test_profiles_become_srgb_and_srgb_stays_itself():
  srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
  np.testing.assert_array_equal(decode(profiled(RGB, srgb), profile=True), RGB)
  # A gamma of 1 instead of about 2.2: the oracle is the standard's formula.
  linear = linear_rgb_profile()
  image = decode(profiled(RGB, linear), profile=True)
  values = RGB / 255.0
  low, high = 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055
  expected = 255 * np.where(values <= 0.0031308, low, high)
  np.testing.assert_allclose(image, expected, atol=3)
  np.testing.assert_array_equal(
    decode(profiled(RGB, linear), profile=False), RGB
  )
  np.testing.assert_array_equal(
    decode(profiled(RGB, b"no profile"), profile=True), RGB
  )
  clear = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
  np.testing.assert_allclose(
    decode(profiled(clear, linear), profile=True), expected, atol=3
  )


def linear_rgb_profile():
  """An sRGB profile whose tone curves are straight (gamma 1)."""
  data = bytearray(
    ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
  )
  count = int.from_bytes(data[128:132], "big")
  for tag in range(count):
    entry = data[132 + 12 * tag : 144 + 12 * tag]
    name, start = bytes(entry[:4]), int.from_bytes(entry[4:8], "big")
    if name in (b"rTRC", b"gTRC", b"bTRC"):
      size = int.from_bytes(entry[8:12], "big")
      curve = b"curv" + bytes(4) + (0).to_bytes(4, "big")
      data[start : start + size] = curve.ljust(size, b"\0")
    if name == b"desc":
      size = int.from_bytes(entry[8:12], "big")
      text = bytes(data[start : start + size])
      data[start : start + size] = text.replace(b"R\0G", b"x\0y").replace(
        b"RGB", b"xyz"
      )
  return bytes(data)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_the_range_is_the_one_that_the_file_states(bits):
  most = (1 << bits) - 1
  values = np.linspace(0, most, 35).reshape(5, 7).astype(np.uint16)
  expected = values / most * 255
  tiff = TiffImagePlugin.ImageFileDirectory_v2()
  tiff[281] = most
  image = decode(encoded(values, "tiff", tiffinfo=tiff))
  np.testing.assert_allclose(image, repeated(expected), atol=1)
  graymap = f"P5 7 5 {most}\n".encode() + values.astype(">u2").tobytes()
  np.testing.assert_allclose(decode(graymap), repeated(expected), atol=1)


def test_twelve_packed_bits():
  values = np.array([[0, 1024, 2048, 4095]])
  bits = "".join(f"{value:012b}" for value in values[0])
  packed = bytes(int(bits[i : i + 8], 2) for i in range(0, 48, 8))
  tags = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 122),
          (277, 1), (278, 1), (279, 6)]  # fmt: skip
  entries = b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags)
  data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
  image = decode(data + packed)
  np.testing.assert_array_equal(image, repeated(np.array([[0, 64, 128, 255]])))


@pytest.mark.parametrize(
  "format, options, most",
  [
    ("heif", {"quality": 95}, 12),
    ("avif", {"quality": 95}, 12),
    ("jpeg2000", {}, 0),
    ("webp", {"lossless": True}, 0),
    ("tga", {}, 0),
    ("jpeg", {"quality": 98}, 12),
    ("ico", {}, 0),
    ("qoi", {}, 0),
  ],
)
def test_formats_of_telephones_cameras_and_pages(format, options, most):
  if format == "heif":
    pytest.importorskip("pillow_heif").register_heif_opener()
  ramp = np.linspace(20, 230, 32)
  smooth = np.stack(np.broadcast_arrays(ramp, ramp[:, None], 99.0), -1)
  smooth = smooth.astype(np.uint8)
  image = decode(encoded(smooth, format, **options))
  assert np.abs(image.astype(int) - smooth).max() <= most


def test_a_heic_without_its_extra_says_which(monkeypatch):
  data = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(40)
  monkeypatch.setitem(sys.modules, "pillow_heif", None)
  with pytest.raises(UnreadableImage, match="visual_memory.heif"):
    decode(data)


@pytest.mark.parametrize(
  "data, reason",
  [
    (b"", "it is empty"),
    (b"\n<!DOCTYPE html><html>", "it is HTML"),
    (b"<?xml version='1.0'?><svg/>", "it is SVG"),
    (b"a few words\n", "it is text"),
    (b"%PDF-1.7", "it is a PDF"),
    (b"\0\0\0\x18ftypmp42" + bytes(9), "it is a video"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it is PostScript"),
    (bytes(99), "nothing but zeros"),
    (bytes(range(1, 99)), "no format"),
  ],
)
def test_what_is_no_picture_is_called_by_its_name(data, reason):
  with pytest.raises(UnreadableImage, match=reason) as info:
    decode(data)
  assert "0x" not in str(info.value)


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
  with pytest.raises(UnreadableImage, match="exceeds limit") as info:
    decode(encoded(RGB))
  assert "attack" not in str(info.value)


def test_a_large_picture_is_read_without_a_warning_of_python():
  program = (
    "import io; from PIL import Image;"
    "from visual_memory.data.decoding import decode_image;"
    "Image.MAX_IMAGE_PIXELS = 30; file = io.BytesIO();"
    "Image.new('RGB', (7, 5)).save(file, 'png');"
    "print(decode_image(file.getvalue(), id='x').shape)"
  )
  done = processes.python("-c", program)
  assert done.stdout == "(5, 7, 3)\n" and not done.stderr


def test_a_large_image_is_taken_over_whole(monkeypatch):
  monkeypatch.setattr(decoding, "_LARGE", 10)
  monkeypatch.setattr(decoding, "_STRIP", 2)
  np.testing.assert_array_equal(decode(encoded(RGB)), RGB)
  np.testing.assert_array_equal(decode(encoded(GRAY)), repeated(GRAY))


def test_nothing_is_printed_about_a_broken_image():
  program = (
    "import io; from PIL import Image;"
    "from visual_memory.data import decoding;"
    "file = io.BytesIO();"
    "Image.new('RGB', (7, 5)).save(file, 'tiff', tiffinfo={277: 18761});"
    "data = file.getvalue().replace(b'\\x15\\x01\\x03\\x00\\x01\\x00\\x00\\x00"
    "\\x03\\x00', b'\\x15\\x01\\x03\\x00\\x01\\x00\\x00\\x00\\x49\\x49');"
    "assert data != file.getvalue();"
    "error = None\ntry: decoding.decode_image(data, id='x')\n"
    "except decoding.UnreadableImage as e: error = e\n"
    "assert error"
  )
  done = processes.python("-c", program)
  assert (done.returncode, done.stderr) == (0, "")
