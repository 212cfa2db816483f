"""Bytes of an image file to RGB pixels, with one stated rule for each kind.

| stored as | becomes |
|---|---|
| RGB, 8 bits | itself |
| grayscale, 1 or 8 bits | the gray value in all three channels |
| 16 bits (gray or color) | the high byte |
| palette, CMYK, YCbCr, HSV | RGB, by Pillow's conversion |
| with transparency (alpha, tRNS) | composed over white, as a page shows it |
| 32-bit integers outside 0..65535, floats | unreadable: no agreed range |
| several frames | the first |
| an EXIF orientation | turned upright; stored order with orient=False |

torchvision and TensorFlow ignore the EXIF orientation: `orient=False` is the
published protocol for photographs that carry one.
"""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps


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
  data: bytes, *, id: str, orient: bool = True
) -> UInt8[np.ndarray, "H W 3"]:
  """RGB pixels of an encoded image (anything that Pillow opens).

  Args:
    data: the content of the file.
    id: named in errors.
    orient: apply the EXIF orientation.

  Raises:
    UnreadableImage: truncated, corrupt, too large, or of no known format.
  """
  try:
    with Image.open(io.BytesIO(data)) as image:
      return _rgb(_upright(image) if orient else image)
  except Exception as error:  # Pillow's parsers raise whatever they stumble on.
    reason = " ".join(str(error).split()) or type(error).__name__
    raise UnreadableImage(id, reason.rstrip(".")) from error


def _upright(image: Image.Image) -> Image.Image:
  """The image turned as its EXIF orientation says."""
  if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
    return image
  return ImageOps.exif_transpose(image)


def _rgb(image: Image.Image) -> np.ndarray:
  """An open image of any mode as uint8 [H, W, 3]."""
  if image.mode.startswith("I"):
    return np.repeat(_high_byte(np.asarray(image))[:, :, None], 3, axis=2)
  if image.mode == "F":
    raise ValueError("its pixels are floats, which have no agreed range")
  if image.has_transparency_data:
    image = image.convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(page, image)
  if image.mode != "RGB":
    image = image.convert("RGB")
  return np.asarray(image)


def _high_byte(values: np.ndarray) -> np.ndarray:
  """16-bit gray values [H, W] as uint8, Pillow's own rule for 16-bit RGB."""
  if values.min() < 0 or values.max() > 65535:
    raise ValueError("its pixels are 32-bit integers, beyond 16 bits")
  return (values >> 8).astype(np.uint8)
