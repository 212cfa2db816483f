"""From RGB pixels to what an encoder sees: resize, center crop, normalize.

preprocess = PRESETS["dino"]
pixels = preprocess(image)              # float32 [224, 224, 3]
small = dataclasses.replace(preprocess, resize=128, crop=112)

A source with masks is an `ImageSource` with one more method, `mask(row)`: int32
[H, W], a class for every pixel of the image at this position, UNLABELED where
it does not count (void). Its `class_names` name the classes of pixels.
"""

import dataclasses
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int32, Shaped, UInt8
from PIL import Image

from visual_memory.data import resampling
from visual_memory.data.image_source import ImageSource
from visual_memory.types import UNLABELED

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Channel statistics of ImageNet, of pixels in [0, 1] (torchvision)."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel statistics of OpenAI's CLIP training images."""

MAX_ASPECT = 200
"""Longer images are first cut (centered) to this ratio of their sides: the
crop would discard the rest, and resizing it could fill the memory."""

FILTERS = {
  "bilinear": Image.Resampling.BILINEAR,
  "bicubic": Image.Resampling.BICUBIC,
  "lanczos": Image.Resampling.LANCZOS,
}
"""Pillow's filters, all of which antialias."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
  """A resize, a center crop and a normalization; call it on an image.

  Attributes:
    resize: the short side after resizing; both sides if long_side="square". Or
      (height, width), which the resized image covers, its ratio kept.
    crop: S, the side of the center crop, at most `resize`; or (height, width).
    interpolation: a key of FILTERS; "tf" has "bicubic" alone.
    backend: "pil" resizes in 8 bits, exactly as torchvision does on Pillow
      images; "tf" in floats, as tf.image.resize does, overshoot kept.
    antialias: False only for "tf".
    long_side: how resize * long / short becomes whole: "truncate"
      (torchvision), "round" (half to even), or "square": ignore the ratio.
    crop_offset: how margin / 2 becomes whole: "round" (half to even,
      torchvision) or "floor".
    mean: per channel, of pixels in [0, 1].
    std: likewise.
  """

  resize: int | tuple[int, int]
  crop: int | tuple[int, int]
  interpolation: str = "bicubic"
  backend: Literal["pil", "tf"] = "pil"
  antialias: bool = True
  long_side: Literal["truncate", "round", "square"] = "truncate"
  crop_offset: Literal["round", "floor"] = "round"
  mean: tuple[float, float, float] = IMAGENET_MEAN
  std: tuple[float, float, float] = IMAGENET_STD

  def __post_init__(self):
    """Raises ValueError for settings that contradict each other."""
    choices = {
      "interpolation": tuple(FILTERS)
      if self.backend == "pil"
      else ("bicubic",),
      "backend": ("pil", "tf"),
      "antialias": (True,) if self.backend == "pil" else (True, False),
      "long_side": ("truncate", "round", "square"),
      "crop_offset": ("round", "floor"),
    }
    for field, allowed in choices.items():
      if getattr(self, field) not in allowed:
        raise ValueError(
          f"{field} cannot be {getattr(self, field)!r} (backend"
          f" {self.backend!r}); it can be: {', '.join(map(repr, allowed))}."
        )
    room = zip(self.shape, _pair(self.resize), strict=True)
    if not all(1 <= crop <= resize for crop, resize in room):
      raise ValueError(
        f"A crop of {self.crop} does not fit into an image resized to"
        f" {self.resize}: crop must be between 1 and resize."
      )
    if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
      raise ValueError(
        f"mean and std need three numbers, std positive; got {self.mean} and"
        f" {self.std}."
      )

  def __call__(
    self, image: UInt8[np.ndarray, "H W 3"] | Image.Image
  ) -> Float32[np.ndarray, "h w 3"]:
    """The normalized pixels of an RGB image of any size."""
    return self.normalize(self.resize_and_crop(image))

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width of the result."""
    return _pair(self.crop)

  @property
  def size(self) -> int:
    """S, the side of the result.

    Raises:
      ValueError: the result is not square.
    """
    height, width = self.shape
    if height != width:
      raise ValueError(
        f"The pixels are {height} x {width}, and square ones are needed here."
      )
    return height

  @property
  def pixel_dtype(self) -> type[np.generic]:
    """What `resize_and_crop` returns: uint8 for "pil", float32 for "tf"."""
    return np.uint8 if self.backend == "pil" else np.float32

  def to_dict(self) -> dict[str, Any]:
    """Every setting, for fingerprints and reports."""
    return dataclasses.asdict(self)

  def resize_and_crop(
    self, image: UInt8[np.ndarray, "H W 3"] | Image.Image
  ) -> Shaped[np.ndarray, "h w 3"]:
    """Pixels in [0, 255] (beyond by overshoot for "tf"), of pixel_dtype.

    Args:
      image: an array, or an RGB image of Pillow's, of which no copy is made.
    """
    image = cut_long_side(image)
    now = sides(image)
    height, width = self.resized_shape(*now)
    rows, columns = self.windows(height, width)
    if self.backend == "pil":
      if now == (height, width):
        return np.asarray(image)[rows, columns]
      return resized(
        image,
        (height, width),
        interpolation=self.interpolation,
        columns=columns,
      )[rows]
    return resampling.resize_bicubic(
      np.asarray(image),
      rows=(height, rows),
      columns=(width, columns),
      antialias=self.antialias,
    )

  def resize_and_crop_mask(
    self, mask: Int32[np.ndarray, "H W"]
  ) -> Int32[np.ndarray, "h w"]:
    """A class for every pixel of the result: the nearest pixel's."""
    mask = cut_long_side(mask)
    height, width = self.resized_shape(*mask.shape)
    if mask.shape != (height, width):
      resized = Image.fromarray(mask).resize(
        (width, height), Image.Resampling.NEAREST
      )
      mask = np.asarray(resized, np.int32)
    return mask[self.windows(height, width)]

  def normalize(
    self, pixels: Shaped[np.ndarray, "*batch h w 3"]
  ) -> Float32[np.ndarray, "*batch h w 3"]:
    """(pixels / 255 - mean) / std in float32, in torchvision's order."""
    result = pixels / np.float32(255)
    # Whole rows at once: NumPy is slow where the last axis is as short as 3.
    *before, width, _ = result.shape
    rows = result.reshape(*before, 3 * width)
    rows -= np.tile(np.float32(self.mean), width)
    rows /= np.tile(np.float32(self.std), width)
    return result

  def resized_shape(self, height: int, width: int) -> tuple[int, int]:
    """The height and width to which an image is resized."""
    rows, columns = _pair(self.resize)
    if self.long_side == "square":
      return rows, columns
    whole = int if self.long_side == "truncate" else round
    if rows * width >= columns * height:  # The height decides.
      return rows, max(columns, whole(rows * width / height))
    return max(rows, whole(columns * height / width)), columns

  def windows(self, height: int, width: int) -> tuple[slice, slice]:
    """Where the crop lies in a resized image."""
    return tuple(
      _window(side, crop, floor=self.crop_offset == "floor")
      for side, crop in zip((height, width), self.shape, strict=True)
    )


def _window(side: int, crop: int, *, floor: bool) -> slice:
  """Where a crop lies along a side."""
  margin = side - crop
  offset = margin // 2 if floor else round(margin / 2)
  return slice(offset, offset + crop)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
  """Height and width; one number is both."""
  return (size, size) if isinstance(size, int) else tuple(size)


def sides(image: np.ndarray | Image.Image) -> tuple[int, int]:
  """Height and width."""
  if isinstance(image, np.ndarray):
    return image.shape[:2]
  return image.height, image.width


def resized(
  image: UInt8[np.ndarray, "H W 3"] | Image.Image,
  shape: tuple[int, int],
  *,
  interpolation: str = "bicubic",
  columns: slice | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
  """Resized by Pillow in 8 bits, along rows and then along columns.

  That is the order of Pillow before its version 13, which takes the other one
  for pictures that become lower by more than twice what they become narrower;
  either rounds between.

  Args:
    image: an array, or an RGB image of Pillow's.
    shape: height and width to resize to.
    interpolation: a key of FILTERS.
    columns: those to return; all by default.
  """
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  height, width = shape
  image = image.resize((width, image.height), FILTERS[interpolation])
  if columns is not None:
    image = image.crop((columns.start, 0, columns.stop, image.height))
  image = image.resize((image.width, height), FILTERS[interpolation])
  return np.asarray(image)


def cut_long_side(
  image: Shaped[np.ndarray, "H W *C"] | Image.Image,
) -> Shaped[np.ndarray, "h w *C"] | Image.Image:
  """The image, its long side cut to at most MAX_ASPECT times the short one."""
  height, width = sides(image)
  limit = MAX_ASPECT * min(height, width)
  if max(height, width) <= limit:
    return image
  top, left = (max(0, (side - limit) // 2) for side in (height, width))
  bottom, right = min(top + limit, height), min(left + limit, width)
  if isinstance(image, np.ndarray):
    return image[top:bottom, left:right]
  return image.crop((left, top, right, bottom))


def square(
  side: int,
  *,
  mean: tuple[float, float, float] = IMAGENET_MEAN,
  std: tuple[float, float, float] = IMAGENET_STD,
) -> Preprocess:
  """Resizes to side x side whatever the ratio, as suits small images."""
  return Preprocess(
    resize=side, crop=side, long_side="square", mean=mean, std=std
  )


_AS_PUBLISHED = {"backend": "tf", "long_side": "round", "crop_offset": "floor"}

PRESETS = {
  # torchvision's evaluation transform, for DINO, DINOv2.
  "dino": Preprocess(resize=256, crop=224),
  # OpenAI's transform.
  "clip": Preprocess(resize=224, crop=224, mean=CLIP_MEAN, std=CLIP_STD),
  # The whole picture, its ratio ignored, as segmentation wants it.
  "square": square(224),
  # The visual memory notebook (Geirhos et al. 2025, cells 4, 7 and 17).
  "as_published_dino": Preprocess(
    resize=256, crop=224, antialias=True, **_AS_PUBLISHED
  ),
  "as_published_clip": Preprocess(
    resize=224,
    crop=224,
    antialias=False,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    **_AS_PUBLISHED,
  ),
}
"""The preprocessing with which published encoders are evaluated."""


def has_masks(source: ImageSource) -> bool:
  """Whether the source knows the class of every pixel."""
  return callable(getattr(source, "mask", None))


def patch_labels(
  mask: Int32[np.ndarray, "H W"],
  *,
  preprocess: Preprocess,
  grid: tuple[int, int],
) -> Int32[np.ndarray, "rows columns"]:
  """The most frequent class in each patch; ties: void, then the lowest.

  A patch most of whose pixels are void is UNLABELED and votes for nothing.
  """
  mask = preprocess.resize_and_crop_mask(mask)
  rows, columns = grid
  patches = mask.reshape(rows, mask.shape[0] // rows, columns, -1)
  patches = patches.swapaxes(1, 2).reshape(rows * columns, -1) - UNLABELED
  classes = int(patches.max()) + 1
  cells = np.arange(rows * columns)[:, None] * classes + patches
  counts = np.bincount(cells.ravel(), minlength=rows * columns * classes)
  labels = np.argmax(counts.reshape(-1, classes), axis=1) + UNLABELED
  return labels.reshape(grid).astype(np.int32)
