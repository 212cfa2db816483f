"""Small pictures of rows, made when they are first looked at, kept in memory.

Nothing is written to a disk: a removed row's thumbnail goes with `forget`, and
all of them with the process.
"""

import collections
import io
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future

import numpy as np
from PIL import Image

SIDE = 192
_MOST_BYTES = 256 << 20


def encode(image: np.ndarray, side: int) -> tuple[bytes, str]:
  """An image as a file of at most side x side pixels, and its media type.

  Tiny images stay exact (PNG), so that the page can enlarge their pixels.
  """
  picture, buffer = Image.fromarray(image), io.BytesIO()
  if max(picture.size) <= side // 2:
    picture.save(buffer, "PNG")
    return buffer.getvalue(), "image/png"
  picture.thumbnail((side, side), Image.Resampling.BILINEAR)
  picture.save(buffer, "JPEG", quality=85)
  return buffer.getvalue(), "image/jpeg"


class Thumbnails:
  """The newest thumbnails, up to a number of bytes; safe between threads."""

  def __init__(self, most_bytes: int = _MOST_BYTES):
    """An empty cache."""
    self._most, self._bytes = most_bytes, 0
    self._kept: collections.OrderedDict[str, tuple[bytes, str] | None] = (
      collections.OrderedDict()
    )
    self._making: dict[str, Future] = {}
    self._lock = threading.Lock()
    # Half of the processors are left to the browser, which scrolls meanwhile.
    self._turn = threading.Semaphore(max(1, (os.cpu_count() or 2) // 2))

  def get(
    self, row_id: str, make: Callable[[], np.ndarray | None]
  ) -> tuple[bytes, str] | None:
    """A row's thumbnail and its media type; None if it has no picture.

    Args:
      row_id: whose.
      make: its image, uint8 [H, W, 3], or None; called if it is not kept.
    """
    with self._lock:
      if row_id in self._kept:
        self._kept.move_to_end(row_id)
        return self._kept[row_id]
      making = self._making.get(row_id)
      if making is None:
        mine = self._making[row_id] = Future()
    if making is not None:
      return making.result()
    try:
      with self._turn:
        image = make()
        made = None if image is None else encode(image, SIDE)
    except BaseException as error:
      mine.set_exception(error)
      raise
    else:
      mine.set_result(made)
    finally:
      with self._lock:
        del self._making[row_id]
    self._keep(row_id, made)
    return made

  def _keep(self, row_id: str, made: tuple[bytes, str] | None) -> None:
    with self._lock:
      if row_id in self._kept:  # Another thread was faster.
        return
      self._kept[row_id] = made
      self._bytes += len(made[0]) if made else 0
      while self._bytes > self._most:
        _, old = self._kept.popitem(last=False)
        self._bytes -= len(old[0]) if old else 0

  def forget(self, present: Collection[str]) -> None:
    """Drops the thumbnails of all rows but these."""
    with self._lock:
      for row_id in [i for i in self._kept if i not in present]:
        old = self._kept.pop(row_id)
        self._bytes -= len(old[0]) if old else 0
