"""Pictures resized, cropped and normalized by the device, to the host's bits.

  kept = chosen("auto", encoder.preprocess, source, mesh=mesh)  # None: the host
  for batch in batches(source, encoder.preprocess, batch_size=256, kept=kept):
    pixels = kept.pixels(batch.data.images, mesh=mesh)

The host decodes a picture and lays what its crop depends on into a square, of
one size for a source, beside the weights of its rows and columns: one line of
bytes. One program makes the pixels of a batch of them.

Pillow resizes in whole numbers: samples of 8 bits times weights of 22 bits and
a sign, added up, rounded, clipped; first along rows, then along columns. A
weight is split into three digits of 8 bits. Their products with samples, and
sums of at most MOST_WEIGHTS of these, are whole and below 2**24, so matrix
products of bfloat16 that are summed in float32 are exact, in any order and on
any device. What a sample becomes when it is normalized is looked up.
"""

import dataclasses
import functools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from visual_memory import distributed
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.image_source import ImageSource
from visual_memory.data.preprocess import Preprocess, cut_long_side, sides
from visual_memory.data.resampling import PILLOW_KERNELS, pillow_weights
from visual_memory.types import Array

SIDES = (128, 256, 384, 512, 768)
"""Of the squares, in pixels. What needs more is resized by the host: most of
its work is to unpack it, and it would take long to send."""

WHERE = ("auto", "host", "device")
"""Where pictures may be resized; "auto": on accelerators, by the device."""

MOST_WEIGHTS = 64  # Samples on which one of the result may depend.
_LOOKED_AT = 8  # Pictures of a source by which the side is chosen.
_AT_ONCE = 16  # Pictures that a device resizes together: some 100 MB.


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceResize:
  """A preprocessing whose second half is the device's; a `batching.Kept`.

  A picture that does not fit comes resized: the device leaves it as it is.

  Attributes:
    preprocess: what is computed; of backend "pil", bicubic or bilinear.
    side: of the square, in pixels, at least the crop's.
  """

  preprocess: Preprocess
  side: int
  dtype = np.uint8

  @property
  def num_weights(self) -> int:
    """Of each sample, enough for a crop that shows all of the square."""
    _, support = PILLOW_KERNELS[self.preprocess.interpolation]
    stretch = max(self.side / min(self.preprocess.shape), 1.0)
    return 2 * math.ceil(support * stretch) + 1

  @property
  def shape(self) -> tuple[int]:
    """Bytes of a line: the square; int32 firsts and weights."""
    numbers = sum(self.preprocess.shape) * (1 + self.num_weights)
    return (3 * self.side**2 + 4 * numbers,)

  def write(self, image: np.ndarray | Image.Image, slot: np.ndarray) -> None:
    """Writes the line of an RGB image to its slot, which is all zeros."""
    image = cut_long_side(image)
    found = self._axes(*sides(image))
    if found is None:
      image = self.preprocess.resize_and_crop(image)
      kept = [(side, side, 0, side) for side in self.preprocess.shape]
      found = [_axis(*line, self.preprocess.interpolation) for line in kept]
    (top, bottom, *_), (left, right, *_) = found
    if isinstance(image, np.ndarray):
      image = image[top:bottom, left:right]
    else:
      image = np.asarray(image.crop((left, top, right, bottom)))
    square, numbers = np.split(slot, [3 * self.side**2])
    square = square.reshape(self.side, self.side, 3)
    square[: bottom - top, : right - left] = image
    table = numbers.view(np.int32).reshape(-1, 1 + self.num_weights)
    table[:, 0] = np.concatenate([firsts for _, _, firsts, _ in found])
    height, _ = self.preprocess.shape
    for part, (*_, weights) in zip(
      np.split(table, [height]), found, strict=True
    ):
      part[:, 1 : 1 + weights.shape[1]] = weights

  def fits(self, height: int, width: int) -> bool:
    """Whether the device resizes pictures of this size."""
    return self._axes(height, width) is not None

  def pixels(
    self, lines: UInt8[Array, "B N"], *, mesh: Mesh
  ) -> Float32[jax.Array, "B h w 3"]:
    """What `preprocess` gives for lines that are split over the mesh."""
    return _pixels(self, mesh, lines)

  def _axes(self, height: int, width: int) -> list[tuple] | None:
    """What rows and columns of the crop depend on; None if it does not fit."""
    resized = self.preprocess.resized_shape(height, width)
    found = [
      _axis(*lengths, window.start, window.stop, self.preprocess.interpolation)
      for *lengths, window in zip(
        (height, width), resized, self.preprocess.windows(*resized), strict=True
      )
    ]
    fits = all(
      stop - start <= self.side and weights.shape[1] <= self.num_weights
      for start, stop, _, weights in found
    )
    return found if fits else None

  def _picture(self, line: jax.Array) -> jax.Array:
    """The pixels of one line, [N] -> [h, w, 3]."""
    count = 3 * self.side**2
    square = line[:count].reshape(self.side, self.side, 3)
    table = jax.lax.bitcast_convert_type(
      line[count:].reshape(-1, 1 + self.num_weights, 4), jnp.int32
    )
    behind = jnp.arange(self.side)[None] - table[:, :1]
    weights = sum(  # At the places of their samples, [h + w, side].
      jnp.where(behind == j, table[:, j + 1, None], 0)
      for j in range(self.num_weights)
    )
    height, _ = self.preprocess.shape
    pixels = _resized("sx,yxc->ysc", weights[height:], square)
    pixels = _resized("sy,yxc->sxc", weights[:height], pixels)
    values = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
    normalized = jnp.asarray(self.preprocess.normalize(values).ravel())
    return normalized[3 * pixels.astype(jnp.int32) + jnp.arange(3)[None, None]]


def chosen(
  where: str, preprocess: Preprocess, source: ImageSource, *, mesh: Mesh
) -> DeviceResize | None:
  """How the device resizes the pictures of a source; None if the host does.

  Args:
    where: one of WHERE.
    preprocess: the encoder's own.
    source: a few of its pictures decide on the size of the squares.
    mesh: the devices.

  Returns:
    The way; None, with a warning, if these devices give another picture than
    the host does.

  Raises:
    ValueError: another word, or "device" for what only the host computes.
  """
  if where not in WHERE:
    raise ValueError(
      f"resize_on cannot be {where!r}; it can be: {', '.join(WHERE)}."
    )
  if not wanted(where, mesh.devices.flat[0].platform):
    return None
  known = preprocess.interpolation in PILLOW_KERNELS
  known = known and preprocess.backend == "pil"
  sizes = [side for side in SIDES if known and side >= max(preprocess.shape)]
  kinds = [DeviceResize(preprocess=preprocess, side=side) for side in sizes]
  kinds = [kind for kind in kinds if kind.num_weights <= MOST_WEIGHTS]
  if where == "device" and not kinds:
    raise ValueError(
      "Only the host resizes so: the device does what Pillow does (backend"
      f" 'pil'; {', '.join(PILLOW_KERNELS)}) to crops of 4 to {SIDES[-1]}"
      f" pixels; got {preprocess}. Take resize_on='host' or 'auto'."
    )
  if not kinds:
    return None
  fitting = [
    next((i for i, kind in enumerate(kinds) if kind.fits(*shape)), 0)
    for shape in _some_shapes(source)
  ]
  # Enough for three quarters of them: one large one makes no other larger.
  kind = kinds[sorted(fitting)[len(fitting) * 3 // 4] if fitting else 0]
  if _trusted(kind, mesh):
    return kind
  warnings.warn(
    f"{mesh.devices.flat[0].device_kind} does not resize as Pillow does, to the"
    " bit: the host resizes.",
    stacklevel=2,
  )
  return None


def _trusted(kind: DeviceResize, mesh: Mesh) -> bool:
  """CPUs are tested with the package; others show what they do, once."""
  return mesh.devices.flat[0].platform == "cpu" or agrees(kind, mesh)


@functools.lru_cache(maxsize=16)
def agrees(kind: DeviceResize, mesh: Mesh) -> bool:
  """Whether each device gives the host's pixels of a picture of noise."""
  side = kind.side
  image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
  line = np.zeros(kind.shape, np.uint8)
  kind.write(image, line)
  found = kind.pixels(
    np.broadcast_to(line, (mesh.size, *line.shape)), mesh=mesh
  )
  return bool(np.all(np.asarray(found) == kind.preprocess(image)))


def wanted(where: str, platform: str) -> bool:
  """Whether pictures are to be resized by a device of this platform."""
  return where == "device" or (where == "auto" and platform != "cpu")


def _some_shapes(source: ImageSource) -> list[tuple[int, int]]:
  """Heights and widths of a few of the pictures that can be read."""
  found, count = [], min(len(source), _LOOKED_AT)
  for row in np.linspace(0, len(source) - 1, count).astype(int):
    try:
      found.append(source[row].image.shape[:2])
    except UnreadableImage:
      continue
  return found


@functools.lru_cache(maxsize=1024)
def _axis(
  size_in: int, size_out: int, start: int, stop: int, interpolation: str
) -> tuple[int, int, Int32[np.ndarray, "n"], Int32[np.ndarray, "n K"]]:
  """Where the samples that a crop depends on begin and end, on one axis; the
  first of each of the crop's, counted from there, and its weights."""
  firsts, weights = pillow_weights(
    size_in, size_out, slice(start, stop), interpolation=interpolation
  )
  begin = int(firsts.min())
  end = min(size_in, int(firsts.max()) + weights.shape[1])
  return begin, end, firsts - begin, weights


def _resized(product: str, weights: jax.Array, samples: jax.Array) -> jax.Array:
  """One pass of Pillow's: uint8 samples, of uint8 samples and int32 weights."""
  digits = []
  for _ in range(2):
    low = ((weights + 128) & 255) - 128
    digits.append(low)
    weights = (weights - low) >> 8
  total = jnp.int32(1 << 21)
  for place, digit in enumerate([*digits, weights]):
    sums = jnp.einsum(
      product,
      digit.astype(jnp.bfloat16),
      samples.astype(jnp.bfloat16),
      preferred_element_type=jnp.float32,
      precision=jax.lax.Precision.DEFAULT,
    )
    total += sums.astype(jnp.int32) << (8 * place)
  return jnp.clip(total >> 22, 0, 255).astype(jnp.uint8)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _pixels(kept: DeviceResize, mesh: Mesh, lines: jax.Array) -> jax.Array:
  """The pixels of row-sharded lines, each device its own."""
  rows = PartitionSpec(distributed.DATA)
  return jax.shard_map(
    lambda lines: jax.lax.map(kept._picture, lines, batch_size=_AT_ONCE),
    mesh=mesh,
    in_specs=rows,
    out_specs=rows,
    check_vma=False,
  )(lines)
