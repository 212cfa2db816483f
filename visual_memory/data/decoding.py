"""Bytes of an image file to RGB pixels, with one stated rule for each kind.

| stored as | becomes |
|---|---|
| RGB, 8 bits | itself |
| grayscale, 1 or 8 bits | the gray value in all three channels |
| 10 to 16 bits, gray | scaled by the range that the file states |
| 16 bits, color | the high byte |
| palette, CMYK, YCbCr, HSV | RGB, by Pillow's conversion |
| with transparency (alpha, tRNS) | composed over white, as a page shows it |
| 32-bit integers outside 0..65535, floats | unreadable: no agreed range |
| several frames | the first |
| no pixel, or more than `MOST_PIXELS` | unreadable, before it is unpacked |
| an EXIF orientation | turned upright; stored order with orient=False |
| an ICC profile | its stored values; sRGB with profile=True |
| HEIC, HEIF | as Pillow reads them with the `heif` extra |

torchvision and TensorFlow ignore the EXIF orientation and the profile:
`orient=False` is the published protocol for photographs that carry one. Only
formats of pictures are opened: none of them runs another program.
"""

import functools
import io
import logging
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

FORMATS = tuple(
  "AVIF BMP DIB GIF ICO JPEG JPEG2000 PCX PNG PPM QOI SGI TGA TIFF WEBP".split()
)
"""What is opened, by Pillow's names; HEIF comes with its extra."""

MOST_PIXELS = 178_956_970
"""The bound at which Pillow speaks of an attack, whatever an application has
set Pillow's to. The largest cameras make 151,000,000."""

_LARGE, _STRIP = 1 << 21, 256
"""Pixels from which an image is taken over in strips, and the rows of one."""
_BITS_PER_SAMPLE, _MAX_SAMPLE = 258, 281  # TIFF's tags.
# Between once and twice Pillow's limit it warns, beyond that it refuses, which
# is the limit here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What it logs of broken files is said by the error; unheard, it goes to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class UnreadableImage(Exception):
  """An image that cannot be decoded; a long job records it and goes on.

  Attributes:
    id: the example's id.
    reason: what is wrong, in words.
  """

  def __init__(self, id: str, reason: str):
    """An error about the image `id`."""
    super().__init__(id, reason)
    self.id = id
    self.reason = reason

  def __str__(self) -> str:
    """The sentence that a user reads."""
    return f"Image {self.id!r} cannot be read: {self.reason}."


def decode_image(
  data: bytes,
  *,
  id: str,
  orient: bool = True,
  profile: bool = False,
  least: int | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
  """RGB pixels of an encoded image (anything that Pillow opens).

  Args:
    data: the content of the file.
    id: named in errors.
    orient: apply the EXIF orientation.
    profile: bring colors to sRGB by the ICC profile that a file carries.
    least: for a thumbnail: sides of this many pixels are enough, so that a
      large JPEG need not be unpacked whole. Never for an embedding.

  Raises:
    UnreadableImage: truncated, corrupt, too large, or of no known format.
  """
  image = decode_rgb(data, id=id, orient=orient, profile=profile, least=least)
  return pixels_of(image)


def decode_rgb(
  data: bytes,
  *,
  id: str,
  orient: bool = True,
  profile: bool = False,
  least: int | None = None,
) -> Image.Image:
  """The same as an image of Pillow's, which is all that resizing it takes.

  See `decode_image`. An array of the pixels beside it would be a second copy,
  of 36 MB where a photograph has 12 megapixels.
  """
  try:
    with Image.open(io.BytesIO(data), formats=_formats(data)) as image:
      check_size(image)
      if least is not None:
        image.draft(None, (least, least))
      icc = image.info.get("icc_profile") if profile else None
      return _rgb(_upright(image) if orient else image, icc)
  except UnidentifiedImageError as error:
    raise UnreadableImage(id, described(data)) from error
  except Exception as error:  # Pillow's parsers raise whatever they stumble on.
    raise _unreadable(id, error) from error


def num_pixels(data: bytes) -> int:
  """Pixels of an encoded image as its header says; 0 where it says nothing."""
  try:
    with Image.open(io.BytesIO(data), formats=_formats(data)) as image:
      return image.width * image.height
  except Exception:  # Whoever decodes it says what is wrong.
    return 0


def check_size(image: Image.Image) -> None:
  """Raises ValueError for an open image that must not be unpacked.

  Pillow has read its header alone so far.
  """
  width, height = image.size
  if not 0 < width * height <= MOST_PIXELS:
    raise ValueError(
      f"it has {width:,} x {height:,} pixels, and from 1 to {MOST_PIXELS:,} are"
      " read"
    )


def to_rgb(image: Image.Image, *, id: str) -> UInt8[np.ndarray, "H W 3"]:
  """RGB pixels of an open image, turned upright, by the rules above.

  Raises:
    UnreadableImage: its file is broken, or its pixels have no agreed range.
  """
  try:
    return pixels_of(_rgb(_upright(image), None))
  except Exception as error:  # A Pillow image may not have been read yet.
    raise _unreadable(id, error) from error


def _unreadable(id: str, error: Exception) -> UnreadableImage:
  """What Pillow's error says about an image."""
  reason = " ".join(str(error).split()) or type(error).__name__
  reason = reason.split(", could be decompression bomb")[0]
  return UnreadableImage(id, reason.rstrip("."))


def _formats(data: bytes) -> tuple[str, ...]:
  """The formats to try; HEIF where the bytes say so."""
  if not is_heif(data):
    return _known_formats()
  try:
    import pillow_heif
  except ImportError as error:
    raise ImportError(NEEDS_HEIF) from error
  pillow_heif.register_heif_opener()
  return ("HEIF",)


@functools.cache
def _known_formats() -> tuple[str, ...]:
  """Those of FORMATS that this Pillow was built with."""
  Image.init()
  return tuple(name for name in FORMATS if name in Image.OPEN)


def _upright(image: Image.Image) -> Image.Image:
  """The image turned as its EXIF orientation says."""
  if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
    return image
  return ImageOps.exif_transpose(image)


def _rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
  """An open image of any mode as RGB, unpacked."""
  if image.mode.startswith("I"):
    values = _eight_bits(np.asarray(image), _stated_range(image))
    return Image.fromarray(values).convert("RGB")
  if image.mode == "F":
    raise ValueError("its pixels are floats, which have no agreed range")
  transparent = image.has_transparency_data
  if image.mode == "P" or (transparent and image.mode != "RGBA"):
    image = image.convert("RGBA" if transparent else "RGB")
  if profile:
    image = _in_srgb(image, profile)
  if transparent:
    image = image.convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(page, image)
  if image.mode != "RGB":
    image = image.convert("RGB")
  image.load()
  return image


def pixels_of(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
  """The pixels of an RGB image, without a third copy of a large one."""
  width, height = image.size
  if width * height <= _LARGE:
    return np.asarray(image)
  pixels = np.empty((height, width, 3), np.uint8)
  for top in range(0, height, _STRIP):
    bottom = min(top + _STRIP, height)
    pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
  return pixels


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
  """The image's colors in sRGB; as they are if the profile does not fit."""
  try:
    theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "srgb" in ImageCms.getProfileDescription(theirs).lower():
      return image
    return ImageCms.profileToProfile(
      image,
      theirs,
      ImageCms.createProfile("sRGB"),
      renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
      outputMode="RGBA" if image.mode == "RGBA" else "RGB",
      flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
  except (ImageCms.PyCMSError, OSError, ValueError):
    return image


def _stated_range(image: Image.Image) -> int:
  """The largest value that a file of more than 8 bits says it may have."""
  tags = getattr(image, "tag_v2", {})
  bits = max(tags.get(_BITS_PER_SAMPLE, (16,)))
  stated = tags.get(_MAX_SAMPLE, 0)
  most = max(stated) if isinstance(stated, tuple) else int(stated)
  return most if 255 < most < 65535 else (1 << min(max(bits, 9), 16)) - 1


def _eight_bits(values: np.ndarray, most: int) -> np.ndarray:
  """Gray values [H, W] from 0 to most as uint8.

  Of 16 bits the high byte, Pillow's own rule for color of 16 bits.
  """
  if values.min() < 0 or values.max() > 65535:
    raise ValueError("its pixels are 32-bit integers, beyond 16 bits")
  if most == 65535:
    return (values >> 8).astype(np.uint8)
  scaled = np.minimum(values, most) * np.float32(255 / most)
  return np.rint(scaled).astype(np.uint8)


_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1",
                b"msf1")  # fmt: skip
NEEDS_HEIF = "it is HEIC: pip install 'visual_memory[heif]' reads it"
_HEAD = 1024
_MAGIC = {
  b"%PDF": "it is a PDF",
  b"PK\x03\x04": "it is a .zip archive",
  b"Rar!": "it is a .rar archive",
  b"7z\xbc\xaf": "it is a .7z archive",
  b"\x1f\x8b": "it is compressed by gzip",
  b"\x1aE\xdf\xa3": "it is a video",
  b"8BPS": "it is a Photoshop file: export it as PNG or TIFF",
  b"%!PS": "it is PostScript",
  b"II*\0": "it is a TIFF of a kind that cannot be read",
  b"MM\0*": "it is a TIFF of a kind that cannot be read",
  b"II+\0": "it is a BigTIFF, which cannot be read",
  b"\0asm": "it is a program",
  b"\x7fELF": "it is a program",
  b"version https://git-lfs": "it is a pointer of git-lfs, not the file",
}
_MARKUP = {
  b"<!doctype html": "it is HTML",
  b"<html": "it is HTML",
  b"<svg": "it is SVG, drawn and not photographed",
  b"<?xml": "it is XML",
}


def is_heif(data: bytes) -> bool:
  """Whether a file says that it is HEIC or HEIF (and not AVIF)."""
  brands = data[8:12], *(data[i : i + 4] for i in range(16, 40, 4))
  return data[4:8] == b"ftyp" and data[8:12] != b"avif" and (
    brands[0] in _HEIF_BRANDS and b"avif" not in brands
  )  # fmt: skip


def described(data: bytes) -> str:
  """Why a file that no decoder knows is no picture."""
  if not data:
    return "it is empty"
  for magic, reason in _MAGIC.items():
    if data.startswith(magic):
      return reason
  head = data[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
  for start, reason in _MARKUP.items():
    if head.startswith(start):
      return "it is SVG" if b"<svg" in head else reason
  if data[4:8] == b"ftyp" or (data[:4] == b"RIFF" and data[8:12] == b"AVI "):
    return "it is a video"
  if not data[:_HEAD].strip(b"\0"):
    return "it is nothing but zeros"
  try:
    text = data[:_HEAD].decode("utf-8")
  except UnicodeDecodeError:
    return "it is of no format that can be read"
  printable = all(char.isprintable() or char in "\r\n\t" for char in text)
  return "it is text" if printable else "it is of no format that can be read"
