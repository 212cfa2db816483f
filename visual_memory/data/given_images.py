"""Images as people have them: arrays, Pillow images, files, a list of them.

images = GivenImages(["cat.jpg", Image.open("dog.png"), pixels])
images[0]                                             # uint8 [H, W, 3]
"""

import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from visual_memory.data import decoding
from visual_memory.types import Example

_ONE = (str, os.PathLike, Image.Image, Example)


class GivenImages:
  """Some images, checked at once and decoded one by one when asked for."""

  def __init__(self, given: Any):
    """Looks at every item, before any is decoded.

    Args:
      given: one image or an iterable of them. An image is a uint8 array (RGB
        [H, W, 3] or gray [H, W]; several of a size in one [B, H, W, 3]), a
        Pillow image of any mode, the path of a file, or an Example of a source.

    Raises:
      ValueError: something else; names the position and what it is.
      FileNotFoundError: there is no such file; names it.
    """
    self._items = [
      _checked(item, position) for position, item in enumerate(_listed(given))
    ]

  def __len__(self) -> int:
    """The number of images."""
    return len(self._items)

  def __getitem__(self, position: int) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of one image, an EXIF orientation applied.

    Raises:
      UnreadableImage: a file that is no image; names it.
    """
    item = self._items[position]
    if isinstance(item, pathlib.Path):
      return decoding.decode_image(item.read_bytes(), id=str(item))
    if isinstance(item, Image.Image):
      return decoding.to_rgb(item, id=f"image {position}")
    return item


def are_images(given: Any) -> bool:
  """Whether something is an image, or a list that begins with one."""
  if isinstance(given, _ONE):
    return True
  if hasattr(given, "dtype"):
    return given.dtype == np.uint8
  first = next(iter(given), None) if isinstance(given, (list, tuple)) else None
  return first is not None and are_images(first)


def _listed(given: Any) -> Iterable[Any]:
  """The images that were given, as a list."""
  if isinstance(given, _ONE):
    return [given]
  if hasattr(given, "dtype") and hasattr(given, "ndim"):
    one = given.ndim == 2 or (given.ndim == 3 and given.shape[-1] in (1, 3, 4))
    return [given] if one else list(given) if given.ndim else [given]
  if isinstance(given, (bytes, dict)) or not isinstance(given, Iterable):
    raise ValueError(
      f"{type(given).__name__} is no image: give arrays, Pillow images, paths"
      " of files, or a list of them."
    )
  return list(given)


def _checked(item: Any, position: int) -> Any:
  """A path, a Pillow image or RGB pixels."""
  if isinstance(item, Example):
    item = item.image
  if isinstance(item, Image.Image):
    return item
  if isinstance(item, (str, os.PathLike)):
    return _existing(pathlib.Path(item).expanduser(), position)
  if not (hasattr(item, "dtype") and hasattr(item, "shape")):
    raise ValueError(
      f"Image {position} is a {type(item).__name__}: give an array, a Pillow"
      " image or the path of a file."
    )
  shape = tuple(item.shape)
  if item.dtype != np.uint8 or not (
    len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3))
  ):
    raise ValueError(
      f"Image {position} is {item.dtype} {shape}: arrays must be uint8 in"
      " 0..255, RGB [H, W, 3] or gray [H, W]."
    )
  if not np.prod(shape):
    raise ValueError(f"Image {position} has no pixels: {shape}.")
  image = np.asarray(item)
  image = image[:, :, None] if image.ndim == 2 else image
  return image if image.shape[-1] == 3 else np.repeat(image, 3, axis=2)


def _existing(path: pathlib.Path, position: int) -> pathlib.Path:
  """The path of a file.

  Raises:
    FileNotFoundError: nothing is there.
    ValueError: a directory or an archive.
  """
  if path.is_dir() or path.suffix.lower() == ".zip":
    raise ValueError(
      f"Image {position} is {str(path)!r}, a folder or an archive: open it with"
      " open_source('folder', path=...) and embed it."
    )
  if not path.exists():
    raise FileNotFoundError(
      f"Image {position}: there is no file at {str(path)!r}."
    )
  return path
