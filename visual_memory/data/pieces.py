"""Parts of pictures as rows: windows of known class, crops to recognize.

  rows = windows(camvid("camvid.zip", split="train"), side=64, share=0.5)
  photographs = crops(source, per_image=0, scale=(0.1, 0.5), seed=0)
  queries = crops(source, per_image=10, scale=(0.1, 0.5), seed=0)

A window's class is that of most of its pixels. A crop's class is the picture
that it was cut from, so that the nearest row is right if it is that picture.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable
from concurrent import futures
from typing import SupportsIndex

import jax
import numpy as np
from jaxtyping import UInt8

from visual_memory import parallel, types
from visual_memory.data import crops as crops_lib
from visual_memory.data import image_source, preprocess, selection
from visual_memory.data.image_source import ImageSource

_RATIO = (3 / 4, 4 / 3)


class Decoded:
  """The images of the pieces that were asked for last.

  Pieces of one image follow one another, and threads read them side by side:
  the first decodes it, the others wait. There are as many as threads usually
  have in hand, and one more.
  """

  def __init__(self):
    """None yet."""
    self._lock = threading.Lock()
    self._images: dict[int, futures.Future] = {}

  def __reduce__(self):
    """Another process begins anew."""
    return Decoded, ()

  def image(self, source: ImageSource, row: int) -> UInt8[np.ndarray, "H W 3"]:
    """The image at this position of the source; raises as the source does."""
    with self._lock:
      found = self._images.pop(row, None)
      image = futures.Future() if found is None else found
      self._images[row] = image  # In the order of their last use.
      if len(self._images) > parallel.num_cores() + 1:
        del self._images[next(iter(self._images))]
    if found is None:
      try:
        image.set_result(source[row].image)
      except BaseException as error:  # Whoever waits for it is not to hang.
        image.set_exception(error)
    return image.result()


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Pieces(image_source.Described):
  """Boxes of the images of a source; see `windows` and `crops`.

  Attributes:
    source: where the images are.
    rows: the image of each piece, positions in the source, [N].
    box: from a piece's position and its image's height and width to the box:
      top, left, height, width.
    labels: int32 [N].
    ids: those of the images, and what was cut, [N].
    class_names: one for each class index.
    fingerprint: hash of the source's and of how pieces are cut.
    decoded: the images that are in use.
  """

  source: ImageSource
  rows: np.ndarray
  box: Callable[[int, int, int], tuple[int, int, int, int]]
  labels: np.ndarray
  ids: np.ndarray
  class_names: tuple[str, ...]
  fingerprint: str
  decoded: Decoded = dataclasses.field(default_factory=Decoded, init=False)

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The piece at this position; raises as the source does."""
    row = range(len(self))[row]
    image = self.decoded.image(self.source, int(self.rows[row]))
    top, left, height, width = self.box(row, *image.shape[:2])
    return types.Example(
      image=np.ascontiguousarray(
        image[top : top + height, left : left + width]
      ),
      label=int(self.labels[row]),
      id=self.ids[row],
    )


def windows(source: ImageSource, *, side: int, share: float) -> Pieces:
  """Windows side by side, of the class of most of their pixels.

  Args:
    source: has a class for every pixel (`data.preprocess`).
    side: of a window, in pixels; what is over at the right and the bottom
      is in none.
    share: of its pixels, more than which are of one class; a window without
      such a class is left out.

  Raises:
    ValueError: the source has no masks, or one is damaged.
  """
  if not preprocess.has_masks(source):
    raise ValueError(
      "Windows are cut from images with a class for every pixel, which this"
      " source does not have."
    )
  places, labels = [], []
  num_classes = len(source.class_names)
  for row in range(len(source)):
    mask = source.mask(row)
    for top in range(0, mask.shape[0] - side + 1, side):
      for left in range(0, mask.shape[1] - side + 1, side):
        seen = mask[top : top + side, left : left + side]
        counts = np.bincount(seen[seen >= 0], minlength=num_classes)
        if counts.max() > share * side**2:
          places.append((row, top, left))
          labels.append(counts.argmax())
  places = np.array(places, np.int64).reshape(-1, 3)
  ids = [f"{source.ids[row]} {top} {left}" for row, top, left in places]
  return Pieces(
    source=source,
    rows=places[:, 0],
    box=functools.partial(_window, places[:, 1:], side),
    labels=np.array(labels, np.int32),
    ids=types.as_ids(ids),
    class_names=tuple(source.class_names),
    fingerprint=image_source.digest(source.fingerprint, "windows", side, share),
  )


def crops(
  source: ImageSource,
  *,
  per_image: int,
  scale: tuple[float, float],
  seed: int,
) -> Pieces:
  """Random crops, each of the class of its picture: the picture's id.

  A crop depends on its picture's id and size, its number and the seed alone.

  Args:
    source: its own classes play no part.
    per_image: crops of each picture; 0: the whole picture, once.
    scale: least and greatest share of the area.
    seed: of the boxes.
  """
  rows = np.repeat(np.arange(len(source)), max(per_image, 1))
  ids, box = source.ids, _whole
  if per_image:
    ids = [
      f"{source.ids[row]} {number}"
      for row in range(len(source))
      for number in range(per_image)
    ]
    drawn = selection.id_hash(ids, salt=f"crops/{seed}")
    box = functools.partial(_crop, (drawn * 2**32).astype(np.uint32), scale)
  return Pieces(
    source=source,
    rows=rows,
    box=box,
    labels=rows.astype(np.int32),
    ids=types.as_ids(ids),
    class_names=tuple(source.ids),
    fingerprint=image_source.digest(
      source.fingerprint, "crops", per_image, scale, seed
    ),
  )


def _window(corners, side, row, height, width):
  del height, width
  return (*corners[row].tolist(), side, side)


def _whole(row, height, width):
  del row
  return 0, 0, height, width


def _crop(seeds, scale, row, height, width):
  return tuple(map(int, _draw(seeds[row], height, width, scale)))


@functools.partial(jax.jit, static_argnames="scale")
def _draw(seed, height, width, scale):
  key = jax.random.key(seed, impl="threefry2x32")
  return crops_lib.random_box(key, height, width, scale=scale, ratio=_RATIO)
