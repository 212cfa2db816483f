"""Random views of a source's images, and their embeddings in half precision.

  views = embed_views(encoder, source, rows, num_views=31, augmix=True, ...)
  whole = with_centers(embedded.embeddings, views)          # [N, V, D]

Views are made on the device: random crops, mirrored. An image of any size is
put into the corner of a square canvas of fixed size, so that one compiled
program serves all. What an image's views are depends on its id and the seed
alone: neither on the order, the batches nor the devices.

Reference: torchvision's RandomResizedCrop (area 0.5 to 1, ratio 3/4 to 4/3,
bilinear) and RandomHorizontalFlip, as Zhang et al., "Dual Memory Networks"
(CVPR 2024) use them; ten attempts at a crop that fits, then the center.
"""

import collections
import functools
import os
import pathlib
import zlib
from collections.abc import Iterator
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float16, Int, UInt8

from visual_memory import distributed, files
from visual_memory.data import crops, image_source
from visual_memory.data.image_source import ImageSource
from visual_memory.data.preprocess import resized
from visual_memory.distributed import map_rows
from visual_memory.dual_memory.augmix import augmix as mix
from visual_memory.encoders.encoder import Encoder
from visual_memory.types import Array

SCALE = (0.5, 1.0)
"""Area of a crop, relative to the image's."""

RATIO = (3 / 4, 4 / 3)
"""Width over height of a crop."""


_VERSION = 2
"""Of what views a seed gives; 2: boxes drawn as those of pretraining."""

_IMAGES = 8
"""Images of a device at a time."""


def embed_views(
  encoder: Encoder,
  source: ImageSource,
  rows: np.ndarray,
  *,
  num_views: int,
  augmix: bool,
  canvas: int,
  seed: int,
  mesh: Mesh,
  cache_dir: str | os.PathLike | None,
) -> Float16[np.ndarray, "N V D"]:
  """Unit embeddings of V random views of each of these images.

  Args:
    encoder: whose size and channel statistics the views have.
    source: the images.
    rows: positions in it, of images that can be read.
    num_views: V, without the center crop.
    augmix: whether views are also mixed with altered copies.
    canvas: larger images are first shrunk until this side holds them.
    seed: of all views.
    mesh: the devices.
    cache_dir: keeps the finished result, which is then read as it is needed;
      None keeps nothing.

  Raises:
    UnreadableImage: an image cannot be read; leave it out of the rows.
  """
  out = np.empty((len(rows), num_views, encoder.dim), np.float16)
  if not num_views:
    return out
  path = None
  if cache_dir is not None:
    ids = "\0".join(source.ids[rows])
    name = image_source.digest(
      _VERSION, encoder.fingerprint, source.fingerprint, ids, num_views, augmix,
      canvas, seed,
    )  # fmt: skip
    path = pathlib.Path(cache_dir) / f"{name}.npy"
    if distributed.everyone(path.exists()):
      return np.load(path, mmap_mode="r")
  shared = (encoder.params, *_statistics(encoder))
  function = _function(
    encoder.apply, num_views, encoder.preprocess.size, augmix
  )
  step = _IMAGES * mesh.size
  done = 0
  for arrays in _read_ahead(source, rows, canvas, seed, step):
    part = map_rows(function, arrays, shared, mesh=mesh, block=_IMAGES)
    out[done : done + len(part)] = part
    done += len(part)
  if path is not None and distributed.is_lead():
    with files.replacing(path) as partial:
      np.save(partial, out)
  return out


def with_centers(
  centers: Float[np.ndarray, "N D"], views: Float[np.ndarray, "N V D"]
) -> Float[np.ndarray, "N V+1 D"]:
  """The center crop's embedding before those of the random views."""
  if not views.shape[1]:
    return centers[:, None]
  first = centers[:, None].astype(views.dtype)
  return np.concatenate([first, views], axis=1)


def on_canvas(
  image: UInt8[np.ndarray, "H W 3"], side: int
) -> tuple[UInt8[np.ndarray, "M M 3"], Int[np.ndarray, "2"]]:
  """The image in the corner of a canvas, and its height and width there.

  A larger image is first shrunk, antialiased, until its long side fits.

  Args:
    image: of any size.
    side: M, of the canvas.
  """
  height, width = image.shape[:2]
  if max(height, width) > side:
    factor = side / max(height, width)
    height, width = (max(1, round(n * factor)) for n in (height, width))
    image = resized(image, (height, width))
  canvas = np.zeros((side, side, 3), np.uint8)
  canvas[:height, :width] = image
  return canvas, np.array([height, width], np.int32)


def random_views(
  canvas: UInt8[Array, "M M 3"],
  size: Int[Array, "2"],
  key: Array,
  *,
  num_views: int,
  side: int,
  augmix: bool,
) -> Float[Array, "V S S 3"]:
  """Random crops of one image, whole numbers in [0, 255] unless mixed.

  Args:
    canvas: the image in its corner.
    size: height and width of the image.
    key: of this image.
    num_views: V.
    side: S, of the views.
    augmix: whether each crop is mixed with altered copies of itself.
  """

  def view(key):
    crop_key, flip_key, mix_key = jax.random.split(key, 3)
    box = crops.random_box(crop_key, size[0], size[1], scale=SCALE, ratio=RATIO)
    pixels = crops.resized_crop(
      canvas, box, size=side, kernel="triangle", rounded=True
    )
    pixels = jnp.where(jax.random.bernoulli(flip_key), pixels[:, ::-1], pixels)
    return mix(pixels, mix_key) if augmix else pixels

  # One after the other: only one canvas-sized product is held at a time.
  return jax.lax.map(view, jax.random.split(key, num_views))


def _read_ahead(source, rows, canvas, seed, step) -> Iterator[tuple]:
  """Groups of images on canvases with their sizes and seeds."""

  def read(row):
    image, size = on_canvas(source[row].image, canvas)
    name = f"views/{seed}/{source.ids[row]}".encode()
    return image, size, np.uint32(zlib.crc32(name))

  with futures.ThreadPoolExecutor() as pool:
    pending = collections.deque()
    for start in range(0, len(rows), step):
      group = [int(row) for row in rows[start : start + step]]
      pending.append([pool.submit(read, row) for row in group])
      if len(pending) > 2:
        yield _stacked(pending.popleft())
    while pending:
      yield _stacked(pending.popleft())


def _stacked(tasks):
  return tuple(np.stack(part) for part in zip(*(t.result() for t in tasks),
                                              strict=True))  # fmt: skip


def _statistics(encoder):
  preprocess = encoder.preprocess
  return np.float32(preprocess.mean), np.float32(preprocess.std)


@functools.cache
def _function(apply, num_views, side, augmix):
  """The program of one encoder and one kind of views."""

  def embed(shared, canvases, sizes, seeds):
    params, mean, std = shared
    make = functools.partial(
      random_views, num_views=num_views, side=side, augmix=augmix
    )
    pixels = jax.vmap(make)(canvases, sizes, jax.vmap(jax.random.key)(seeds))
    pixels = (pixels / 255 - mean[None, None, None, None]) / std[
      None, None, None, None
    ]
    flat = pixels.reshape(-1, *pixels.shape[2:])
    rows = apply(params, flat)
    length = jnp.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / jnp.where(length == 0, 1, length)
    return rows.reshape(*pixels.shape[:2], -1).astype(jnp.float16)

  return embed
