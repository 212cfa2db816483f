"""Photographs distorted in graded steps, with Pillow and NumPy.

  worse = distort(image, "blur", level=3, seed=0)

A higher level of the same distortion is farther from the original: the grades
follow the spirit of ImageNet-C (Hendrycks and Dietterich 2019), scaled to the
shorter side of the picture, so that they mean the same at any size.
"""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageFilter

LEVELS = 8
"""Levels 0 to LEVELS - 1; even 0 changes the picture."""


def distort(
  image: UInt8[np.ndarray, "H W 3"], name: str, *, level: int, seed: int
) -> UInt8[np.ndarray, "H W 3"]:
  """The picture, distorted; the same seed gives related distortions.

  Args:
    image: RGB.
    name: a key of DISTORTIONS.
    level: 0 (weakest) to LEVELS - 1.
    seed: of noise and directions.

  Raises:
    ValueError: an unknown distortion or level.
  """
  if name not in DISTORTIONS or not 0 <= level < LEVELS:
    raise ValueError(
      f"No distortion {name!r} of level {level}: there are"
      f" {', '.join(DISTORTIONS)}, of levels 0 to {LEVELS - 1}."
    )
  amount = (level + 1) / LEVELS
  stream = np.random.default_rng(seed)
  found = DISTORTIONS[name](Image.fromarray(image), amount, stream)
  return np.asarray(found)


def _blur(image, amount, stream):
  """A Gaussian blur."""
  radius = 0.08 * amount * min(image.size)
  return image.filter(ImageFilter.GaussianBlur(radius))


def _noise(image, amount, stream):
  """Gaussian noise."""
  noise = stream.normal(size=(image.height, image.width, 3))
  return _clipped(np.asarray(image) + 90 * amount * noise)


def _jpeg(image, amount, stream):
  """Strong compression."""
  buffer = io.BytesIO()
  image.save(buffer, "jpeg", quality=max(2, round(34 * (1.06 - amount))))
  return Image.open(buffer).convert("RGB")


def _shift(image, amount, stream):
  """A shift, with the picture mirrored at its edges."""
  angle = stream.uniform(0, 2 * np.pi)
  reach = 0.3 * amount * min(image.size)
  x, y = (round(reach * f(angle)) for f in (np.cos, np.sin))
  margin = [(max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0)), (0, 0)]
  moved = np.pad(np.asarray(image), margin, "reflect")
  top, left = max(-y, 0), max(-x, 0)
  return Image.fromarray(moved[top:, left:][: image.height, : image.width])


def _rotate(image, amount, stream):
  """A turn about the center; the corners become black."""
  angle = 40 * amount * stream.choice([-1, 1])
  return image.rotate(angle, Image.Resampling.BICUBIC)


def _color(image, amount, stream):
  """A shift of the hue and less saturation."""
  hue, saturation, value = image.convert("HSV").split()
  turn = round(90 * amount * stream.choice([-1, 1]))
  hue = hue.point([(entry + turn) % 256 for entry in range(256)])
  turned = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
  return ImageEnhance.Color(turned).enhance(1 - 0.5 * amount)


def _contrast(image, amount, stream):
  """Less contrast."""
  return ImageEnhance.Contrast(image).enhance(1 - 0.9 * amount)


def _patches(image, amount, stream):
  """Squares torn out and put elsewhere."""
  pixels = np.asarray(image).copy()
  side = max(1, min(image.size) // 6)
  for _ in range(round(16 * amount)):
    corners = stream.integers(
      0, (image.height - side + 1, image.width - side + 1), (2, 2)
    )
    (y0, x0), (y1, x1) = corners
    square = pixels[y0 : y0 + side, x0 : x0 + side].copy()
    pixels[y1 : y1 + side, x1 : x1 + side] = square
  return Image.fromarray(pixels)


def _clipped(pixels: np.ndarray) -> Image.Image:
  return Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))


DISTORTIONS = {
  "blur": _blur,
  "noise": _noise,
  "jpeg": _jpeg,
  "shift": _shift,
  "rotate": _rotate,
  "color": _color,
  "contrast": _contrast,
  "patches": _patches,
}
"""Functions of a picture, an amount in (0, 1] and a stream of randomness."""
